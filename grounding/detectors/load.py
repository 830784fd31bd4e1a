"""Detectors by name: what a flag says, to an object that keeps the protocol.

Which names there are, the files of this folder declare; see `forms`. A second detector that must
agree and a CLIP that looks again are optional wrappers around any.
"""

from __future__ import annotations

import threading
from typing import Any

from grounding.detector import Detector
from grounding.detectors.forms import (
    DetectorForm,
    Settings,
    detector_forms,
    is_code,
    listed,
    torch_device,
)
from shards.suggest import nearest, suggest

PRECISIONS = ("fp32", "bf16", "fp16")

_loaded: dict[tuple[Any, ...], Detector] = {}
_lock = threading.Lock()


def load_detector(
    name: str,
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch: int = 8,
    second: str | None = None,
    rescore: str | None = None,
    **options: Any,
) -> Detector:
    """Return a detector; the same arguments give the same object of this process.

    Args:
        name: One of the declared forms, such as "hf:MODEL".
        device: "auto" (the GPU where there is one), "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        batch: Images at once, at most.
        second: Another detector, whose agreement a box needs; see `agreement`.
        rescore: A CLIP that takes part in the scores, after agreement; see `rescore.load`.
        options: Those that the form declares; `rescore_rule` ("multiply" or "replace").

    Raises:
        ValueError: No such detector, or an argument it does not have.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; {suggest(precision, PRECISIONS)}")
    if batch < 1:
        raise ValueError(f"a batch of {batch} images is too small; the least is 1")
    rule = options.pop("rescore_rule", None)
    if rule is not None and rescore is None:
        raise ValueError("rescore_rule needs rescore, which names the CLIP model")
    settings = Settings(device=device, precision=precision, batch=batch, options=options)
    key = (name, device, precision, batch, second, rescore, rule, tuple(sorted(options.items())))
    with _lock:
        if key not in _loaded:
            _loaded[key] = _wrapped(_load(name, settings), settings, second, rescore, rule)
        return _loaded[key]


def check_language(detector: Detector, language: str) -> None:
    """Refuse captions of a language that a detector does not read.

    Args:
        detector: Any.
        language: A code such as "en" or "pt-BR"; the part before the hyphen counts.

    Raises:
        ValueError: The detector does not read it.
    """
    if detector.languages is None:
        return
    if language.lower().replace("_", "-").partition("-")[0] not in detector.languages:
        raise ValueError(
            f"{detector.name} reads {', '.join(sorted(detector.languages))} and not {language!r}; "
            "select captions it reads, or give another detector"
        )


def check_recorded(name: str, place: str, *, allow_code: bool) -> None:
    """Refuse to run code because a file names it as its detector: a run may come from a stranger.

    Args:
        name: As the file has it.
        place: The file.
        allow_code: The user said `--allow_code`.

    Raises:
        ValueError: It is code, and that is not allowed.
    """
    if is_code(name) and not allow_code:
        raise ValueError(
            f"{place} names the detector {name}, which is code, and a file cannot make code run; "
            f"give --detector {name} yourself, or add --allow_code"
        )


def _load(name: str, settings: Settings) -> Detector:
    form = _form(name)
    known = settings.options if form.options is None else form.options
    if unknown := sorted(settings.options.keys() - set(known)):
        raise ValueError(
            f"{form.name} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )
    return form.load(name.partition(":")[2], settings)


def _form(name: str) -> DetectorForm:
    kind, _, argument = name.partition(":")
    if kind.lower() == "glipv2":
        raise ValueError(
            "the weights of GLIPv2 were never published; use glip:CHECKPOINT with GLIP-T or "
            "GLIP-L of version 1, or hf:MODEL with MM-GroundingDINO, which grounds as well"
        )
    forms = detector_forms()
    if kind not in forms:
        close = nearest(kind, forms)
        hint = f"did you mean {forms[close].form}?" if close else f"known: {listed()}"
        raise ValueError(f"no detector {name!r}; {hint}")
    if forms[kind].takes_argument != bool(argument):
        raise ValueError(f"no detector {name!r}; write {forms[kind].form}")
    return forms[kind]


def _wrapped(
    detector: Detector,
    settings: Settings,
    second: str | None,
    rescore: str | None,
    rule: str | None,
) -> Detector:
    if second is not None:
        from grounding.detectors.agreement import AgreementDetector

        plain = Settings(device=settings.device, precision=settings.precision, batch=settings.batch)
        detector = AgreementDetector(detector, _load(second, plain))
    if rescore is not None:
        from grounding.detectors import rescore as clip

        device = torch_device(settings.device)
        detector = clip.load(detector, rescore, rule=rule or "multiply", device=device)
    return detector
