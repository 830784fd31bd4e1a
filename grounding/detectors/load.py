"""Detectors by name: what a flag says, to an object that keeps the protocol.

    glip:CHECKPOINT   our port of GLIP v1 (options `variant`, `vocab`, `short_side`, `long_side`)
    hf:MODEL          a zero-shot detector of transformers; a folder or a hub id
    blobs             a toy for rendered scenes
    oracle:FILE       annotated boxes, no model

A second detector that must agree and a CLIP that looks again are optional wrappers around any.
"""

from __future__ import annotations

import threading
from typing import Any

from grounding.detector import Detector

FORMS = ("glip:CHECKPOINT", "hf:MODEL", "blobs", "oracle:FILE")
PRECISIONS = ("fp32", "bf16", "fp16")
_OPTIONS = {"glip": ("variant", "vocab", "short_side", "long_side")}  # besides the common ones
_PIXELS = ("short_side", "long_side")

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
        name: One of the forms of the module's docstring.
        device: "auto" (the GPU where there is one), "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        batch: Images at once, at most.
        second: Another detector, whose agreement a box needs; see `agreement`.
        rescore: A CLIP that takes part in the scores, after agreement; see `rescore.load`.
        options: `variant`, `vocab`, `short_side` and `long_side` of GLIP; `rescore_rule`
            ("multiply" or "replace").

    Raises:
        ValueError: No such detector, or an argument it does not have.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if batch < 1:
        raise ValueError(f"a batch of {batch} images; the least is 1")
    rule = options.pop("rescore_rule", None)
    if rule is not None and rescore is None:
        raise ValueError("rescore_rule needs rescore, which says by what")
    key = (name, device, precision, batch, second, rescore, rule, tuple(sorted(options.items())))
    with _lock:
        if key not in _loaded:
            common = {"device": device, "precision": precision, "batch": batch}
            _loaded[key] = _wrapped(_load(name, common, options), common, second, rescore, rule)
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


def _load(name: str, common: dict[str, Any], options: dict[str, Any]) -> Detector:
    form, _, rest = name.partition(":")
    if form.lower() == "glipv2":
        raise ValueError(
            "the weights of GLIPv2 were never published; use glip:CHECKPOINT with GLIP-T or "
            "GLIP-L of version 1, or hf:MODEL with MM-GroundingDINO, which grounds as well"
        )
    if form not in {each.partition(":")[0] for each in FORMS} or (form != "blobs") != bool(rest):
        raise ValueError(f"no detector {name!r}; there are {', '.join(FORMS)}")
    if unknown := sorted(options.keys() - set(_OPTIONS.get(form, ()))):
        raise ValueError(
            f"{form} has no option {', '.join(unknown)}; "
            f"it has {', '.join(_OPTIONS.get(form, ())) or 'none'}"
        )
    if form == "blobs":
        from grounding.detectors.blobs import BlobDetector

        return BlobDetector()
    if form == "oracle":
        from grounding.detectors.oracle import OracleDetector

        return OracleDetector(rest)
    common = {**common, "device": _device(common["device"])}
    if form == "hf":
        from grounding.detectors import hf

        return hf.load(rest, **common)
    from grounding.glip.detector import GlipDetector

    pixels = {name: _pixels(name, options[name]) for name in _PIXELS if name in options}
    return GlipDetector(rest, **common, **{**options, **pixels})


def _pixels(name: str, value: Any) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"glip option {name}={value}: give a number of pixels")
    return number


def _wrapped(
    detector: Detector,
    common: dict[str, Any],
    second: str | None,
    rescore: str | None,
    rule: str | None,
) -> Detector:
    if second is not None:
        from grounding.detectors.agreement import AgreementDetector

        detector = AgreementDetector(detector, _load(second, common, {}))
    if rescore is not None:
        from grounding.detectors import rescore as clip

        device = _device(common["device"])
        detector = clip.load(detector, rescore, rule=rule or "multiply", device=device)
    return detector


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"no device {name!r}; there are auto, cpu, cuda and cuda:N")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device {name} was asked for, and there is no GPU here; use cpu or auto")
    return name
