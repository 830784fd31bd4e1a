"""A detector of your own code: `module:PACKAGE.FILE:FACTORY`.

    python -m pipelines.ground --detector module:my.detectors:make …

The factory is called as `make(device=…, precision=…, batch=…, options=…)`. `device` is what the
command line says ("auto", "cpu", "cuda" or "cuda:N"), `options` a dict of `--detector_options`. It
returns an object that keeps `grounding.detector.Detector`. A launcher calls it once with the device
"cpu" to learn name and fingerprint; every worker process calls it once.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from grounding.detector import Detector
from grounding.detectors.forms import DetectorForm, Settings
from shards.suggest import nearest

MEMBERS = tuple(name for name in vars(Detector) if not name.startswith("_"))


def load(place: str, settings: Settings) -> Detector:
    """Import the factory and return what it makes.

    Args:
        place: "PACKAGE.FILE:FACTORY".
        settings: What the factory is called with.

    Raises:
        ValueError: No such module or factory, or what it makes does not keep the protocol. What
            the user's code raises is not changed.
    """
    module_name, _, attribute = place.partition(":")
    names = [*module_name.split("."), attribute]
    if not all(name.isidentifier() for name in names):
        raise ValueError(
            f"detector module:{place}: write module:PACKAGE.FILE:FACTORY, such as "
            "module:my.detectors:make"
        )
    factory = _attribute(_module(module_name, place), attribute, place)
    if not callable(factory):
        raise ValueError(f"detector module:{place}: {attribute} is not a function, but {factory!r}")
    detector = factory(
        device=settings.device,
        precision=settings.precision,
        batch=settings.batch,
        options=dict(settings.options),
    )
    return _checked(detector, place)


def _module(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # What the user's module itself fails to import is for its author to see whole.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"detector module:{place}: there is no module {error.name} on the Python path; install "
            "it, or add its folder to PYTHONPATH"
        ) from error


def _attribute(module: ModuleType, name: str, place: str) -> object:
    if hasattr(module, name):
        return getattr(module, name)
    close = nearest(name, [known for known in vars(module) if not known.startswith("_")])
    hint = f"did you mean {close}?" if close else "name the function that makes the detector"
    raise ValueError(f"detector module:{place}: {module.__name__} has no {name}; {hint}")


def _checked(detector: Detector, place: str) -> Detector:
    missing = [name for name in MEMBERS if not hasattr(detector, name)]
    if missing:
        raise ValueError(
            f"detector module:{place} made a {type(detector).__name__} without "
            f"{', '.join(missing)}; grounding/detector.py says what a detector has"
        )
    for name in ("name", "fingerprint"):
        if not isinstance(getattr(detector, name), str):
            raise ValueError(f"detector module:{place}: its {name} must be text")
    return detector


DETECTORS = (
    DetectorForm(
        form="module:PACKAGE.FILE:FACTORY",
        about="a detector of your own: the function that makes it",
        options=None,
        is_code=True,
        load=load,
    ),
)
