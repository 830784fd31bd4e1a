"""What the training loop reports of a step, and what is computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventKind = Literal[
    "start", "resume", "skip", "snapshot", "validation", "resolution", "stop", "error"
]


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimiser step over all ranks."""

    step: int  # steps done with this one, from 1
    epoch: int | None  # passes over the data begun before it, from 0; None where there are none
    loss: float  # nats per target or per sample, of the global batch
    learning_rate: float  # the highest of the parameter groups
    grad_norm: float  # L2 norm over all trained parameters, before clipping
    samples: int
    tokens: int  # positions that hold a token: images and text, no padding
    targets: int  # tokens that the loss is taken of
    empty: int  # slots of the batch that held no sample
    skipped: Mapping[str, int] = field(default_factory=dict)  # of them, by `tasks.SkipReason`
    keys: str = ""  # hex; the same whenever the same set of samples was seen
    flops: float  # by the rule of `cogvlm.costs.flops`
    seconds: float  # wall time
    wait_seconds: float  # of `seconds`, spent waiting for data
    skipped_update: bool  # loss or gradients were not finite: the optimiser did not step


@dataclass(frozen=True)
class Rates:
    """What is computed from the reports of one step or several."""

    samples_per_s: float
    tokens_per_s: float
    mfu: float | None  # share of the peak; None where that is not known
    wait_share: float  # of the time


def rates_of(reports: Sequence[StepReport], peak_flops: float | None) -> Rates:
    """Return the rates over some steps together; peak_flops is of all ranks, in FLOP/s."""
    seconds = max(sum(each.seconds for each in reports), 1e-9)
    flops = sum(each.flops for each in reports)
    return Rates(
        samples_per_s=sum(each.samples for each in reports) / seconds,
        tokens_per_s=sum(each.tokens for each in reports) / seconds,
        mfu=flops / seconds / peak_flops if peak_flops else None,
        wait_share=sum(each.wait_seconds for each in reports) / seconds,
    )


def curves(report: StepReport, rates: Rates) -> dict[str, float]:
    """Return the numbers of a step by the name of their curve."""
    left_out = ("step", "keys", "skipped")
    numbers = {name: value for name, value in asdict(report).items() if name not in left_out}
    values = {f"train/{name}": value for name, value in numbers.items()}
    values |= {f"skipped/{reason}": count for reason, count in report.skipped.items()}
    values |= {f"speed/{name}": value for name, value in asdict(rates).items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def event_curves(kind: str, fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an event by the name of their curve."""
    return {
        f"{kind}/{name}": float(value)
        for name, value in fields.items()
        if isinstance(value, int | float)
    }
