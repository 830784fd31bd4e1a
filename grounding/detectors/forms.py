"""What a detector says about itself, and the list of all that do.

A file of this folder declares in `DETECTORS` which forms `--detector` takes; help texts, errors and
docs list what is declared. Listing imports every file here: torch and transformers are imported
where a model is loaded or runs, never at the top of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grounding import detectors
from grounding.detector import Detector
from shards.declarations import declared


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every detector is loaded with."""

    device: str = "auto"  # auto, cpu, cuda or cuda:N; see `torch_device`
    precision: str = "fp32"  # fp32, bf16 or fp16
    batch: int = 8  # images at once, at most
    options: Mapping[str, Any] = field(default_factory=dict)  # of this detector only


@dataclass(frozen=True, kw_only=True)
class DetectorForm:
    """One kind of detector that a command can name."""

    form: str  # as it is typed: "hf:MODEL", or "blobs" where nothing follows
    about: str  # one line, for help texts and docs
    load: Callable[[str, Settings], Detector]  # of what follows the colon
    options: tuple[str, ...] | None = ()  # names that `Settings.options` may hold; None: any
    is_code: bool = False  # names code of the user's own, which a file may not do by itself

    @property
    def name(self) -> str:
        """What stands before the colon."""
        return self.form.partition(":")[0]

    @property
    def takes_argument(self) -> bool:
        """Whether something follows the colon."""
        return ":" in self.form


def detector_forms() -> dict[str, DetectorForm]:
    """Return all declared forms by name, in the order of their files."""
    return declared(detectors, "DETECTORS", DetectorForm)


def listed() -> str:
    """Return all forms in one line: `blobs, glip:CHECKPOINT, …`."""
    return ", ".join(form.form for form in detector_forms().values())


def listed_options() -> str:
    """Return which options each form has, in one line, without those that take any."""
    return "; ".join(
        f"{form.name}: {', '.join(form.options)}"
        for form in detector_forms().values()
        if form.options
    )


def is_code(name: str) -> bool:
    """Say whether this detector is code that a user names."""
    form = detector_forms().get(name.partition(":")[0])
    return form is not None and form.is_code


def torch_device(name: str) -> str:
    """Return the device that torch is to use; "auto" is the GPU where there is one.

    Raises:
        ValueError: There is no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"no device {name!r}; there are auto, cpu, cuda and cuda:N")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device {name} was asked for, and there is no GPU here; use cpu or auto")
    return name
