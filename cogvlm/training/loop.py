"""The training loop: train, step, forward_backward.

A step takes the global batch apart: every rank runs its micro-batches, each loss divided by the
number of targets of the *whole* batch, so that how it was cut changes nothing but rounding.
Nothing random is carried from step to step: the generators are set from seed, step and rank.
"""

from __future__ import annotations

import math
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cogvlm.costs import flops
from cogvlm.data.loader import Work, blank, loader
from cogvlm.data.order import number
from cogvlm.data.tasks import FAULTS, SkipReason
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.layout import Batch
from cogvlm.training import optim, sharded, validation
from cogvlm.training.distributed import World
from cogvlm.training.optim import Average
from cogvlm.training.run import Run
from cogvlm.training.watch import StepReport
from shards.identity import Domain


@dataclass(frozen=True, kw_only=True)
class Totals:
    """A step's numbers over all ranks."""

    targets: int
    samples: int
    tokens: int  # without padding
    images: int
    empty: int  # slots without a sample
    keys: int  # the same for the same set of samples
    skipped: dict[str, int]  # slots by the reason that their sample could not be used


def train(run: Run) -> None:
    """Run all steps that are left, or until SIGTERM or Ctrl-C; the last thing is a snapshot."""
    config, world = run.config, run.world
    works = loader(
        run.plan,
        steps=range(run.step, config.steps),
        micro_batch=run.micro_batch,
        rank=world.rank,
        ranks=world.ranks,
        workers=config.workers,
        pin=world.device.type == "cuda",
    )
    with stop_requests() as stop, closing(works):
        for work in works:
            at_resolution(run, run.model_at(work.step))
            report, must_stop = step(run, work, stop_asked=bool(stop))
            run.watch.step(report)
            run.writer.poll()
            score = None  # of these weights, or of none
            if run.validation and (run.step % config.val_every == 0 or run.step == config.steps):
                score = validation.validate(run, run.validation)
            is_last = must_stop or run.step == config.steps
            if is_last or run.step % config.snapshot_every == 0:
                save(run, score)
            if must_stop:
                run.watch.event(
                    "stop", reason=signal.Signals(max(stop, default=signal.SIGTERM)).name
                )
                break
    run.writer.wait()


def step(run: Run, work: Work, *, stop_asked: bool = False) -> tuple[StepReport, bool]:
    """Do one optimiser step; returns what it was like, and whether some rank was asked to stop."""
    begin, config, world = time.perf_counter(), run.config, run.world
    all_ranks = totals(world, work)
    micro_steps, must_stop = world.largest([len(work.batches), stop_asked])
    seed_all(config.seed, work.step, world.rank)
    rate = optim.set_lr(run.optimizer, config, work.step)
    divisor = max(1, all_ranks.targets if config.loss_per == "token" else all_ranks.samples)
    loss = forward_backward(run, work.batches, micro_steps, divisor)
    norm = float(clip(run.model, config.clip))
    (loss_sum,) = world.sums([loss], torch.float64)
    can_update = all_ranks.targets > 0 and math.isfinite(loss_sum) and math.isfinite(norm)
    if can_update:
        run.optimizer.step()
        run.updates += 1
        run.average.update(run.model, run.updates)
    run.optimizer.zero_grad(set_to_none=True)
    run.step = work.step + 1
    tell_faults(run, work, all_ranks)
    if not can_update:
        count_skipped_update(run, all_ranks.targets, loss_sum, norm)
    report = StepReport(
        step=run.step,
        epoch=run.plan.schedule.epoch(work.step),
        loss=loss_sum,
        learning_rate=rate,
        grad_norm=norm,
        samples=all_ranks.samples,
        tokens=all_ranks.tokens,
        targets=all_ranks.targets,
        empty=all_ranks.empty,
        skipped=all_ranks.skipped,
        keys=f"{all_ranks.keys:015x}",
        flops=step_flops(run, all_ranks),
        seconds=time.perf_counter() - begin + work.wait_s,
        wait_seconds=work.wait_s,
        skipped_update=not can_update,
    )
    return report, bool(must_stop)


def forward_backward(run: Run, batches: Sequence[Batch], micro_steps: int, divisor: int) -> float:
    """Add up the gradients of a rank's micro-batches; returns its part of the loss.

    Args:
        run: The run.
        batches: Micro-batches, images as uint8.
        micro_steps: How many every rank runs; those without a batch of their own run a blank one.
        divisor: Of the summed loss: targets, or samples, of the whole global batch.
    """
    total = torch.zeros((), device=run.world.device)
    missing = [blank(run.model.config)] * (micro_steps - len(batches))
    for batch in (*batches, *missing):
        loss_sum, _ = run.model.loss(run.on_device(batch))
        loss = loss_sum / divisor
        # Sharded gradients are averaged over the ranks; the divisor counts all of them already.
        (loss * run.world.ranks).backward()
        total += loss.detach()
    return float(total)


def clip(model: CogVLM, largest: float) -> Tensor:
    """Scale the gradient down to a norm; returns what it was before, the same on all ranks."""
    parameters = [parameter for _, parameter in optim.trained(model)]
    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, largest or float("inf"))
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def at_resolution(run: Run, config: ModelConfig) -> None:
    """Go on with a model for images of another size: the position table is resized.

    Optimiser state and averages are kept. The old model stays until the new one is filled.
    """
    if config == run.model.config:
        return
    before, old = run.state(), run.model.config.vision.image_size
    run.model = sharded.empty(config, run.config, run.world)
    run.optimizer = optim.adamw(run.model, run.config)
    run.average = Average(run.model, run.average.decay)
    after = run.state()
    for kind, tensors in after.items():
        is_moment = kind in optim.MOMENTS
        sharded.carry_over(before[kind], tensors, config.vision.grid_size, are_moments=is_moment)
    optim.set_updates(run.model, run.optimizer, run.updates)
    run.watch.event("resolution", before_px=old, px=config.vision.image_size)


def save(run: Run, validation: float | None) -> None:
    """Begin to write a snapshot."""
    facts = {
        **run.facts,
        "updates": run.updates,
        "model": run.model.config.to_json(),
        "validation": validation,
    }
    run.writer.write(run.step, run.state(), facts)
    run.watch.event("snapshot", step=run.step)


def totals(world: World, work: Work) -> Totals:
    """Add up what the ranks have of a step."""
    reasons = Counter(skip.reason for skip in work.skipped)
    own = (work.targets, len(work.keys), work.tokens, work.images, work.empty, work.key_sum)
    sums = [*map(int, world.sums([*own, *(reasons[reason] for reason in SkipReason)]))]
    targets, samples, tokens, images, empty, keys = sums[: len(own)]
    skipped = dict(zip(map(str, SkipReason), sums[len(own) :], strict=True))
    return Totals(
        targets=targets,
        samples=samples,
        tokens=tokens,
        images=images,
        empty=empty,
        keys=keys % 2**62,
        skipped={reason: count for reason, count in skipped.items() if count},
    )


def tell_faults(run: Run, work: Work, all_ranks: Totals) -> None:
    """Name every damaged sample of any rank in the log."""
    if not FAULTS.intersection(all_ranks.skipped):
        return
    faults = [skip for skip in work.skipped if skip.reason in FAULTS]
    for skip in run.world.gathered(faults):
        run.watch.event(
            "skip",
            step=work.step + 1,
            dataset=skip.dataset,
            shard=skip.shard,
            key=skip.key,
            reason=str(skip.reason),
            detail=skip.detail,
        )


def count_skipped_update(run: Run, targets: int, loss: float, norm: float) -> None:
    """Raise ValueError when more updates were skipped than the budget allows."""
    skipped = run.step - run.updates
    if skipped > run.config.nonfinite_budget:
        raise ValueError(
            f"step {run.step}: {targets} targets, loss {loss:g}, gradient norm {norm:g}; {skipped} "
            "updates were skipped because such a number was 0 targets or not finite, "
            f"--nonfinite_budget is {run.config.nonfinite_budget}. Lower --lr, or look at the "
            f"samples: python -m cogvlm.trace --run {run.config.output} --step {run.step}"
        )


def step_flops(run: Run, all_ranks: Totals) -> float:
    """Return the FLOPs of a step by the rule of `flops`, as if all samples were alike."""
    samples, images = all_ranks.samples, all_ranks.images
    if not samples:
        return 0.0
    model = run.model.config
    text_tokens = max(0, all_ranks.tokens - images * model.span_size) // samples
    one = flops.count(
        model, images=round(images / samples), text_tokens=text_tokens, trained=run.config.trains
    )
    return float(one.total * samples)


def seed_all(seed: int, step: int, rank: int) -> None:
    """Set the generators (dropout) to what belongs to a step and a rank."""
    torch.manual_seed(number(Domain.DROPOUT, seed, step, rank))


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGTERM and Ctrl-C instead of dying of them; a second Ctrl-C interrupts."""
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        if number == signal.SIGINT and number in caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
