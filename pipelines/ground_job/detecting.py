"""Which detector a job uses, as it is sent to workers: loaded there, once per process.

A command without `--detector` resumes with the detector that `run.json` names. Code of the user's
own (`module:…`) that is named there runs with `--allow_code` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grounding.detector import Detector
from pipelines.harness import rundir
from shards.files.store import Store

OPTIONS = ("detector", "detector_options", "second_detector", "rescore", "precision")
"""Together they say which detector it is, so a run's are used all together or not at all."""


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """A detector by name, with its settings."""

    name: str  # one of `grounding.detectors.forms`
    device: str = "auto"
    precision: str = "fp32"
    batch: int = 8
    second: str | None = None  # boxes must be confirmed by this one
    rescore: str | None = None  # CLIP model that scores region and phrase
    options: tuple[tuple[str, str], ...] = ()

    def load(self) -> Detector:
        """Return the detector of this process.

        Raises:
            ValueError: There is none of this name, or its files are not what they should be.
        """
        from grounding.detectors.load import load_detector

        return load_detector(
            self.name,
            device=self.device,
            precision=self.precision,
            batch=self.batch,
            second=self.second,
            rescore=self.rescore,
            **dict(self.options),
        )


def recorded(store: Store, *, allow_code: bool) -> Mapping[str, Any]:
    """Return the options of the detector that a run was begun with; none for a new run.

    Raises:
        ValueError: It is code that the run names, and that is not allowed.
    """
    from grounding.detectors.load import check_recorded

    if not store.exists(rundir.RUN_JSON):
        return {}
    options = rundir.read_run_json(store)["options"]
    place = f"{store.root}/{rundir.RUN_JSON}"
    for name in ("detector", "second_detector"):
        check_recorded(options.get(name) or "", place, allow_code=allow_code)
    return {name: options[name] for name in OPTIONS if name in options}
