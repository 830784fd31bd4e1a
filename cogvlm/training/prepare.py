"""Settings against data, model, tokenizer and what the run did before: checked before all else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogvlm.data.augment import Augment
from cogvlm.data.mixture import Component, open_mixture
from cogvlm.data.order import streams_of
from cogvlm.data.parts import DataPlan, check, tokenizer_file
from cogvlm.data.tasks import TASKS, check_prompts
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.config import ModelConfig, resized
from cogvlm.model.presets import overridden, preset
from cogvlm.model.registry import TOWERS
from cogvlm.training.config import TrainConfig

if TYPE_CHECKING:
    from cogvlm.checkpoints.snapshots import Snapshot


@dataclass(frozen=True)
class Prepared:
    """What a run will do, known before anything is built."""

    config: TrainConfig  # steps and streams resolved
    model: ModelConfig  # before any --resize_at
    plan: DataPlan
    validation: DataPlan | None
    snapshot: Snapshot | None  # to go on from


def prepare(config: TrainConfig, ranks: int) -> Prepared:
    """Check settings against data, model, tokenizer and an earlier part of the run.

    Raises:
        ValueError: Something does not fit; names both sides.
    """
    from cogvlm.checkpoints import snapshots

    if not config.output and not config.dry_run:
        raise ValueError("--output is missing; give the folder that the run is to write")
    if "://" in config.output:
        raise ValueError(
            f"--output {config.output}: snapshots go to a folder that all ranks see as a path; "
            "mount the bucket. Only data is read from gs:// and s3://"
        )
    snapshot = snapshots.latest(Path(config.output)) if config.output else None
    model = model_config(config)
    components = tuple(open_mixture(config.data, config.task))
    check(components)
    plan = _plan(config, model, components, _streams(config, snapshot, ranks))
    if config.epochs:
        per_epoch = plan.schedule.steps_per_epoch
        if per_epoch is None:
            raise ValueError("--epochs: a mixture has no epoch; give --steps")
        config = replace(config, steps=config.epochs * per_epoch)
    if not config.steps:
        raise ValueError("--steps is 0; give the length of the run")
    if config.warmup_steps >= config.steps:
        raise ValueError(
            f"--warmup_steps {config.warmup_steps} must be below --steps {config.steps}; give both"
        )
    _check_sizes(config, plan)
    if snapshot is not None:
        _check_same_run(snapshot, plan, model, config)
    return Prepared(config, model, plan, _validation(config, plan), snapshot)


def model_config(config: TrainConfig) -> ModelConfig:
    """Return the model's config with the run's changes."""
    from cogvlm.checkpoints import opened

    if config.init and config.model:
        raise ValueError("--init and --model are both given; a checkpoint brings its own config")
    if config.init:
        if not Path(config.init).is_dir():
            raise ValueError(f"--init {config.init}: there is no such folder")
        model = opened.read_config(config.init)
    elif config.model:
        model = preset(config.model)
    else:
        raise ValueError("--init FOLDER or --model PRESET is missing: the model to train")
    model = overridden(model, config.override)
    model = replace(model, dropout=config.dropout)
    size = config.image_size
    return replace(model, vision=replace(model.vision, image_size=size)) if size else model


def _streams(config: TrainConfig, snapshot: Snapshot | None, ranks: int) -> int:
    readers = ranks * max(1, config.workers)
    if snapshot is None:
        # Packed rows hold samples of one stream: the fewer streams, the fuller the rows.
        wanted = config.streams or (readers if config.pack_tokens else None)
        return streams_of(config.global_batch, readers, wanted)
    streams: int = snapshot.facts["identity"]["streams"]
    if config.streams not in (0, streams):
        raise ValueError(f"--streams {config.streams}: this run started with {streams}")
    if streams % readers:
        allowed = [str(n) for n in range(1, streams + 1) if streams % n == 0]
        raise ValueError(
            f"{ranks} ranks x {max(1, config.workers)} workers = {readers}, but this run has "
            f"{streams} streams: it resumes exactly with {', '.join(allowed)} (ranks x workers)"
        )
    return streams


def _plan(
    config: TrainConfig, model: ModelConfig, components: tuple[Component, ...], streams: int
) -> DataPlan:
    place = config.tokenizer or config.init
    if not place:
        raise ValueError("--tokenizer is missing; --model has none of its own")
    check_prompts(config.prompts)
    return DataPlan(
        components=components,
        model=model,
        tokenizer=tokenizer_file(place),
        template=config.template,
        seed=config.seed,
        window=config.window,
        streams=streams,
        global_batch=config.global_batch,
        resolution=config.image_size_at,
        augment=config.augment,
        options=config.task_options(),
        pack_tokens=config.pack_tokens,
        error_budget=config.error_budget,
    )


def _validation(config: TrainConfig, plan: DataPlan) -> DataPlan | None:
    """Return what the run is measured on: unaugmented, unpacked, in the training's batch size."""
    if not config.val_data:
        return None
    components = tuple(open_mixture(config.val_data, config.task, option="--val_data"))
    check(components)

    return replace(plan, components=components, augment=Augment(), pack_tokens=0)


def _check_sizes(config: TrainConfig, plan: DataPlan) -> None:
    words = Tokenizer(plan.tokenizer).vocab_size
    if words > plan.model.vocab_size:
        raise ValueError(
            f"{plan.tokenizer} has {words} tokens, the model {plan.model.vocab_size}; they do not "
            "belong together"
        )
    for step in (0, *(start for start, _ in config.resize_at)):
        model = plan.model_at(step)
        has_images = any(TASKS[component.task].has_images for component in plan.components)
        if has_images and model.span_size + 3 > model.max_positions:
            raise ValueError(
                f"an image of {model.vision.image_size} px takes {model.span_size} tokens, the "
                f"model's context is {model.max_positions}: no room is left for text"
            )
        if config.pack_tokens and config.pack_tokens < model.span_size + 3:
            raise ValueError(
                f"--pack_tokens {config.pack_tokens}: an image of {model.vision.image_size} px "
                f"alone takes {model.span_size}"
            )
        is_resizable = TOWERS[model.vision.tower].resizable
        if not is_resizable and model.vision != plan.model_at(0).vision:
            raise ValueError(f"--resize_at: tower {model.vision.tower} has one size only")


def _check_same_run(
    snapshot: Snapshot, plan: DataPlan, model: ModelConfig, config: TrainConfig
) -> None:
    """Raise ValueError where a snapshot is of another model, or of other data."""
    from cogvlm.checkpoints import opened

    before = opened.config_of(snapshot)
    same = replace(resized(before, model.vision.image_size), dropout=model.dropout)
    for name, value in model.to_json().items():
        if same.to_json()[name] != value:
            raise ValueError(
                f"{snapshot.folder} is of another architecture: {name} is "
                f"{same.to_json()[name]!r} there and {value!r} now; use another --output"
            )
    identity = json.loads(json.dumps(plan.identity()))
    for name, value in snapshot.facts["identity"].items():
        if identity[name] != value:
            raise ValueError(
                f"{snapshot.folder} was trained with {name} {value!r}, now it is "
                f"{identity[name]!r}; "
                "use the same, or another --output for a new run (--init starts from these "
                "weights)"
            )
    lora = lora_settings(config)
    if snapshot.facts["lora"] != lora:
        raise ValueError(f"{snapshot.folder}: LoRA was {snapshot.facts['lora']}, now it is {lora}")
    if list(snapshot.facts["trains"]) != sorted(config.trains):
        raise ValueError(
            f"{snapshot.folder}: --trains was {' '.join(snapshot.facts['trains'])}; other groups "
            "have no optimiser state there. Use another --output, with --init for these weights"
        )


def lora_settings(config: TrainConfig) -> dict[str, Any] | None:
    """Return the arguments of `lora.attach`, or None for a run without low-rank differences."""
    if not config.lora_rank:
        return None
    alpha = config.lora_alpha or float(config.lora_rank)
    return {"rank": config.lora_rank, "alpha": alpha, "targets": config.lora_targets}


def remarks(config: TrainConfig) -> list[str]:
    """Return what the user of these settings may not expect."""
    return [
        f"--resize_at: step {step} is beyond --steps {config.steps}, so {side} px are never used"
        for step, side in config.resize_at
        if step >= config.steps
    ]


@contextmanager
def one_voice() -> Iterator[None]:
    """Let the main rank alone say what is wrong, where all of them find the same."""
    try:
        yield
    except ValueError:
        if int(os.environ.get("RANK", "0")):
            sys.exit(2)
        raise


def world_size() -> int:
    """Return how many ranks torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))
