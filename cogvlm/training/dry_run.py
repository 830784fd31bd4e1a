"""What a run will cost and see, before it runs: `--dry_run`, and the choice of the micro-batch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogvlm.costs.activations import activations
from cogvlm.costs.gpus import state_bytes
from cogvlm.data.order import shares
from cogvlm.data.parts import DataPlan
from cogvlm.data.tasks import Skip
from cogvlm.model.groups import counts
from cogvlm.model.layout import IGNORE
from shards.access import SampleError, SampleReader
from shards.image import probe

if TYPE_CHECKING:
    from cogvlm.training.distributed import World
    from cogvlm.training.prepare import Prepared

_LOOKED_AT = 64  # samples of each shard set
_MEMORY_SHARE = 0.85  # of a GPU; the rest is for gathered layers and workspace
_CPU_ROWS = 8


@dataclass(frozen=True)
class Survey:
    """What the first samples of a shard set are like."""

    usable: int
    looked_at: int
    tokens: float  # mean, images included
    targets: float  # mean
    text_tokens: int  # most of a sample
    images: int
    small: int  # images stored smaller than the model's input


def survey(plan: DataPlan, number: int, step: int = 0) -> Survey:
    """Look at the first samples that a run would draw of a shard set."""
    component, model = plan.components[number], plan.model_at(step)
    maker = plan.maker()
    lengths, targets, texts, images, small = [], [], [], 0, 0
    raws = [*SampleReader(component.dataset).read_many(_first(plan, number))]
    for raw in raws:
        try:
            if isinstance(raw, SampleError):
                raise raw
            sample = maker.make(raw, component.task, 0, model)
        except (Skip, SampleError):
            continue
        lengths.append(len(sample.ids))
        targets.append(sum(label != IGNORE for label in sample.labels))
        texts.append(len(sample.ids) - len(sample.images) * model.span_size)
        images += len(raw.images)
        small += sum(_is_small(image, model.vision.image_size) for image in raw.images)
    used = max(1, len(lengths))
    return Survey(
        usable=len(lengths),
        looked_at=len(raws),
        tokens=sum(lengths) / used,
        targets=sum(targets) / used,
        text_tokens=max(texts, default=0),
        images=images,
        small=small,
    )


def _first(plan: DataPlan, number: int) -> list[tuple[int, int]]:
    """Return where the first samples of the first epoch lie, spread over the whole set."""
    dataset = plan.components[number].dataset
    filled = [shard for shard, count in enumerate(dataset.counts) if count]
    nth = max(1, len(filled) // _LOOKED_AT)
    places = [
        (shard, row)
        for row in range(-(-_LOOKED_AT // len(filled)))
        for shard in filled[::nth]
        if row < dataset.counts[shard]
    ]
    return places[:_LOOKED_AT]


def _is_small(image: bytes, size: int) -> bool:
    head = probe(image)
    return head is not None and min(head.width, head.height) < size


def micro_batch(prepared: Prepared, world: World, gpu_bytes: float | None = None) -> int:
    """Return the rows that a rank runs at a time.

    Args:
        prepared: The run.
        world: Its ranks.
        gpu_bytes: What may be used of a GPU; None: most of what it has.

    Raises:
        ValueError: Not even one fits the GPU.
    """
    import torch

    config, plan = prepared.config, prepared.plan
    most = max(1, config.global_batch // world.ranks)
    if config.micro_batch != "auto":
        return min(config.micro_batch, most)
    if world.device.type != "cuda":
        return min(_CPU_ROWS, most)
    if gpu_bytes is None:
        gpu_bytes = torch.cuda.mem_get_info(world.device)[1] * _MEMORY_SHARE
    text = config.pack_tokens or max(
        survey(plan, number).text_tokens for number in range(len(plan.components))
    )
    last = config.resize_at[-1][0] if config.resize_at else 0
    states = sum(state_bytes(counts(prepared.model), config.trains).values())
    spare = gpu_bytes - states / (world.ranks / config.replicas)
    sizes = [1 << n for n in range(most.bit_length())]
    fitting = [rows for rows in sizes if _kept(prepared, rows, text, last) < spare]
    if not fitting:
        raise ValueError(
            f"no micro-batch fits {gpu_bytes / 1e9:.0f} GB: weights, gradients, optimiser and "
            f"averages take {states / 1e9:.0f} GB over {world.ranks // config.replicas} ranks; use "
            "more ranks, train fewer groups, or --checkpoint_activations both"
        )
    return fitting[-1]


def _kept(prepared: Prepared, rows: int, text: int, step: int) -> int:
    in_bf16 = activations(
        prepared.plan.model_at(step),
        frozenset(prepared.config.trains),
        micro_batch=rows,
        text_tokens=max(1, text),
        checkpoint=prepared.config.checkpoint_activations,
    ).total
    return in_bf16 if prepared.config.precision == "bf16" else 2 * in_bf16


def describe(prepared: Prepared, ranks: int) -> list[str]:
    """Return the plan of a run, line by line."""
    config, plan = prepared.config, prepared.plan
    settings = json.dumps(config.to_json(), indent=2, sort_keys=True)
    return [
        *settings.splitlines(),
        "",
        *_length(prepared, ranks),
        "",
        *_mixture(plan),
        "",
        *_small_images(prepared),
        "",
        *_memory(prepared, ranks),
    ]


def _length(prepared: Prepared, ranks: int) -> list[str]:
    config, plan = prepared.config, prepared.plan
    samples = sum(component.dataset.samples for component in plan.components)
    per_epoch = plan.schedule.steps_per_epoch
    lines = [
        f"{config.steps:,} steps of {config.global_batch:,} samples on {ranks} ranks, "
        f"{plan.streams} streams; {samples:,} samples in {len(plan.components)} shard sets"
    ]
    if per_epoch:
        lines.append(f"steps per epoch: {per_epoch:,} ({config.steps / per_epoch:.2f} epochs)")
    else:
        lines.append("steps per epoch: none, a mixture has no epoch")
    if prepared.snapshot:
        lines.append(f"resumes from step {prepared.snapshot.step:,}")
    return lines


def _mixture(plan: DataPlan) -> list[str]:
    """Return a table: what share of samples and of tokens each shard set has."""
    by_samples = shares([component.weight for component in plan.components])
    surveys = [survey(plan, number) for number in range(len(plan.components))]
    tokens = [share * each.tokens for share, each in zip(by_samples, surveys, strict=True)]
    targets = [share * each.targets for share, each in zip(by_samples, surveys, strict=True)]
    lines = [f"{'task':<18}{'samples':>9}{'tokens':>9}{'targets':>9}{'usable':>9}  shard set"]
    for nth, component in enumerate(plan.components):
        usable = surveys[nth].usable / max(1, surveys[nth].looked_at)
        lines.append(
            f"{component.task:<18}{by_samples[nth] / sum(by_samples):>9.1%}"
            f"{tokens[nth] / max(1e-9, sum(tokens)):>9.1%}"
            f"{targets[nth] / max(1e-9, sum(targets)):>9.1%}"
            f"{usable:>9.1%}  {component.dataset.spec}"
        )
    return [*lines, f"(tokens, targets and usable by {_LOOKED_AT} samples of each)"]


def _small_images(prepared: Prepared) -> list[str]:
    """Say how many images are enlarged, at every resolution of the run."""
    config, plan, lines = prepared.config, prepared.plan, []
    for step in (0, *(start for start, _ in config.resize_at)):
        size = plan.model_at(step).vision.image_size
        surveys = [survey(plan, number, step) for number in range(len(plan.components))]
        images = sum(each.images for each in surveys)
        if images:
            share = sum(each.small for each in surveys) / images
            lines.append(f"stored smaller than {size} px: {share:.1%} of the images looked at")
    return lines


def _memory(prepared: Prepared, ranks: int) -> list[str]:
    config, plan = prepared.config, prepared.plan
    sizes = counts(prepared.model)
    shard = max(1, ranks // config.replicas)
    rows = 1 if config.micro_batch == "auto" else config.micro_batch
    text = max(survey(plan, number).text_tokens for number in range(len(plan.components)))
    last = config.resize_at[-1][0] if config.resize_at else 0
    states = state_bytes(sizes, config.trains)
    parts = {what: size / shard for what, size in states.items() if config.ema or "EMA" not in what}
    parts[f"activations ({rows} rows)"] = _kept(prepared, rows, text, last)
    lines = [f"{'memory of a rank':<26}{'GB':>10}"]
    lines += [f"  {what:<24}{size / 1e9:>10,.2f}" for what, size in parts.items()]
    return [*lines, f"  {'sum':<24}{sum(parts.values()) / 1e9:>10,.2f}"]
