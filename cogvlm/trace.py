"""`python -m cogvlm.trace`: which samples a training step saw, from the settings of the run alone.

    python -m cogvlm.trace --run RUN --step 1200

The key of each leads to its metadata row and to every decision made about it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from shards.commandline import run, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a step's samples; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cogvlm.trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", required=True, help="folder of a training run")
    parser.add_argument("--step", required=True, type=int, help="as the log counts, from 1")
    options = parser.parse_args(arguments)
    return run(lambda: _trace(Path(options.run), options.step))


def _trace(folder: Path, step: int) -> None:
    from cogvlm.checkpoints.opened import SETTINGS
    from cogvlm.data.mixture import open_mixture
    from cogvlm.data.order import Schedule
    from shards.access import SampleError, SampleReader

    path = folder / SETTINGS
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder of a training run")
    facts = json.loads(path.read_text(encoding="utf-8"))
    settings, identity = facts["train"], facts["data"]
    if not 1 <= step <= settings["steps"]:
        raise ValueError(f"--step {step}: the run has steps 1 to {settings['steps']}")
    components = open_mixture(settings["data"], settings["task"])
    if [component.identity() for component in components] != identity["data"]:
        raise ValueError(f"{settings['data']} has changed since this run; its steps are unknown")
    schedule = Schedule(
        [component.dataset.counts for component in components],
        [component.weight for component in components],
        seed=identity["seed"],
        window=identity["window"],
        streams=identity["streams"],
        global_batch=identity["global_batch"],
    )
    readers = [SampleReader(component.dataset) for component in components]
    for stream in range(identity["streams"]):
        for draw in schedule.draws(stream, step - 1):
            if draw is None:
                say("-\tno sample: the epoch has ended")
                continue
            component = components[draw.dataset]
            (raw,) = readers[draw.dataset].read_many([(draw.shard, draw.row)])
            why = f"\t{raw.reason}" if isinstance(raw, SampleError) else ""
            shard = component.dataset.shards[draw.shard]
            place = f"{component.dataset.spec}\t{shard}\t{draw.row}"
            say(f"{raw.key}\t{component.task}\tepoch {draw.epoch}\t{place}{why}")


if __name__ == "__main__":
    sys.exit(main())
