"""A prepared run comes to life: model, optimiser and averages, fresh or from a snapshot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cogvlm.checkpoints import checkpoint, opened, snapshots
from cogvlm.checkpoints.opened import SETTINGS
from cogvlm.costs.gpus import peak_flops_of
from cogvlm.data.tokenizer import FILE
from cogvlm.model import init, lora
from cogvlm.training import optim, sharded
from cogvlm.training.distributed import World
from cogvlm.training.dry_run import micro_batch
from cogvlm.training.prepare import Prepared, lora_settings
from cogvlm.training.run import Run
from cogvlm.training.watch import NoWatch, Watch


@contextmanager
def started(prepared: Prepared, world: World) -> Iterator[Run]:
    """Give a run that is ready to take its next step, watched on the main rank."""
    run, folder = _built(prepared, world), Path(prepared.config.output)
    with ExitStack() as stack:
        if world.is_main:
            _write_settings(folder, prepared)
            run.watch = _watch(run, folder)
            stack.callback(run.watch.close)
        try:
            yield run
        except ValueError as error:
            run.watch.event("error", message=str(error))
            raise


def _built(prepared: Prepared, world: World) -> Run:
    """Return the run as it is after the steps it has done: from the snapshot, if there is one."""
    config, snapshot = prepared.config, prepared.snapshot
    model_config = opened.config_of(snapshot) if snapshot else prepared.model
    model = sharded.empty(replace(model_config, dropout=config.dropout), config, world)
    if snapshot is None:
        sharded.hand_out(model, _first_weights(prepared, world), world)
    run = Run(
        config=config,
        world=world,
        plan=prepared.plan,
        validation=prepared.validation,
        micro_batch=micro_batch(prepared, world),
        model=model,
        optimizer=optim.adamw(model, config),
        average=optim.Average(model, config.ema),
        writer=snapshots.Writer(Path(config.output), keep=config.keep, is_main=world.is_main),
        watch=NoWatch(),
        facts={
            "identity": prepared.plan.identity(),
            "lora": lora_settings(config),
            "trains": sorted(config.trains),
            "averaged": [name for name, _ in optim.trained(model)] if config.ema else [],
        },
    )
    if snapshot is not None:
        snapshots.read(snapshot, run.state())
        run.step, run.updates = snapshot.step, snapshot.facts["updates"]
        optim.set_updates(model, run.optimizer, run.updates)
    return run


def _first_weights(prepared: Prepared, world: World) -> dict[str, Tensor] | None:
    """Return the weights of the start by name, on the main rank."""
    if not world.is_main:
        return None
    config = prepared.config
    if config.init:
        fits = None if opened.snapshot_of(config.init, None) else prepared.model
        model = opened.open_model(config.init, dtype=None, config=fits)
    else:
        model = init.build(prepared.model, seed=config.seed)
    if (told := lora_settings(config)) is not None:
        lora.attach(model, **told)
        init.init_differences(model, config.seed)
    weights = {name: each.data for name, each in model.named_parameters()}
    return checkpoint.at_size(weights, prepared.model)


def _write_settings(folder: Path, prepared: Prepared) -> None:
    """Leave what a reader of the folder needs: settings, model config and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"train": prepared.config.to_json(), "data": prepared.plan.identity()}
    for name, content in ((SETTINGS, settings), (checkpoint.OUR_CONFIG, prepared.model.to_json())):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if not (folder / FILE).exists():
        shutil.copyfile(prepared.plan.tokenizer, folder / FILE)


def _watch(run: Run, folder: Path) -> Watch:
    device = run.world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = peak_flops_of(name, run.config.precision)
    watch = Watch(
        folder,
        steps=run.config.steps,
        peak_flops=peak and peak * run.world.ranks,
        settings=run.config.to_json(),
        wandb=run.config.wandb or None,
        every=run.config.log_every,
    )
    watch.event(
        "resume" if run.step else "start",
        step=run.step,
        ranks=run.world.ranks,
        micro_batch=run.micro_batch,
    )
    return watch
