"""`torchrun -m cogvlm.train`: trains a model on shard sets, as the pipelines write them.

    torchrun --nproc_per_node 8 -m cogvlm.train --preset stage1 --init DIR --data OUT --output RUN

After a stop the same command resumes exactly from the newest snapshot, also with another number of
GPUs. `--dry_run` prints the plan. One process without torchrun works, too.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from cogvlm.data.tasks import TASKS
from cogvlm.model.registry import TEMPLATES
from cogvlm.training.config import TrainConfig
from cogvlm.training.presets import RECIPES, recipe, resolve
from shards.commandline import run, say
from shards.suggest import suggest


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run(lambda: _main(given))


def _main(given: list[str]) -> None:
    config, remarks = parse(given)
    if config.dry_run:
        _dry_run(config, remarks)
    else:
        _train(config, remarks)


def parse(arguments: list[str]) -> tuple[TrainConfig, list[str]]:
    """Return the settings of a run, and what is to be said of them.

    Raises:
        ValueError: The preset is missing or unknown, or a setting cannot be.
    """
    import tyro

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", help="the training preset: defaults of all settings")
    named, others = first.parse_known_args(arguments)
    wants_help = {"-h", "--help"} & {*arguments}
    if named.preset is None and not wants_help:
        raise ValueError(f"--preset is missing; known: {', '.join(RECIPES)}")
    _check_names(others)
    start = recipe(named.preset) if named.preset else None
    config = tyro.cli(
        TrainConfig,
        prog="python -m cogvlm.train --preset NAME",
        description=f"{__doc__}\n\nPresets: {', '.join(RECIPES)}. Defaults are the preset's.",
        default=start.config if start else TrainConfig(),
        args=others,
        use_underscores=True,
    )
    assert start is not None, "help has ended the program"
    config.check()
    return resolve(start, config)


def _check_names(arguments: list[str]) -> None:
    """Name the nearest task or template where one is unknown; tyro would only list them."""
    known = {"task": TASKS, "template": TEMPLATES}
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in known:
        parser.add_argument(f"--{option}", nargs="?")
    given, _ = parser.parse_known_args(arguments)
    for option, names in known.items():
        name = getattr(given, option)
        if name is not None and name not in names:
            raise ValueError(f"--{option} {name} is unknown; {suggest(name, names)}")


def _dry_run(config: TrainConfig, remarks: list[str]) -> None:
    from cogvlm.model import groups
    from cogvlm.training import dry_run, optim, prepare

    ranks = prepare.world_size()
    prepared = prepare.prepare(config, ranks)
    sizes = groups.counts(prepared.model)
    say(*dry_run.describe(prepared, ranks), "", *optim.rates(sizes, config))
    say("", *remarks, *prepare.remarks(prepared.config))


def _train(config: TrainConfig, remarks: list[str]) -> None:
    from cogvlm.training import distributed, loop, optim, prepare, start

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with prepare.one_voice():
        prepared = prepare.prepare(config, prepare.world_size())
    if config.deterministic:
        distributed.make_deterministic()
    with (
        distributed.world(config.device, config.replicas) as world,
        start.started(prepared, world) as run_,
    ):
        if world.is_main:
            begin = f"resumes after step {run_.step:,}" if run_.step else "starts"
            say(f"{config.output}: {begin}, {prepared.config.steps:,} steps in all")
            say(*remarks, *prepare.remarks(prepared.config), *optim.table(run_.model, config))
        loop.train(run_)
        if world.is_main:
            say(f"{config.output}: {run_.step:,} steps done, snapshot written")


if __name__ == "__main__":
    sys.exit(main())
