"""`--devices`: while labels are made, one launcher for each GPU of this machine.

The launchers share the output as those of --num_tasks do; each sees one GPU and labels only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from pipelines.ground_job.run import GroundRun

_OURS = ("--devices", "--num_tasks", "--task_index", "--stop_after", "--overwrite", "--reselect")
_WITHOUT_VALUE = ("--overwrite", "--reselect")


def label_everywhere(run: GroundRun, argv: Sequence[str]) -> None:
    """Label with a launcher per GPU, where the user asks for several; wait for all of them.

    Raises:
        ValueError: There is no such GPU, several launchers run already, or one of them failed.
    """
    gpus = named(run.request.devices)
    if len(gpus) < 2:
        return
    if run.launch.num_tasks > 1:
        raise ValueError("--devices starts launchers itself; leave --num_tasks out")
    print_as = [sys.executable, "-m", "pipelines.ground", *without(argv, _OURS)]
    children = [
        subprocess.Popen(
            [
                *print_as,
                "--stop_after=labels",
                f"--num_tasks={len(gpus)}",
                f"--task_index={number}",
            ],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
        )
        for number, gpu in enumerate(gpus)
    ]
    codes = [child.wait() for child in children]
    if any(codes):
        failed = [gpu for gpu, code in zip(gpus, codes, strict=True) if code]
        raise ValueError(
            f"labelling failed on GPU {', '.join(failed)}; what is done is kept: mend what the "
            "messages say and run the same command again"
        )


def named(devices: str | None) -> list[str]:
    """Return the GPUs of `0,1,…` or `auto`; none without the option.

    Raises:
        ValueError: A name is no number.
    """
    if not devices:
        return []
    if devices == "auto":
        import torch

        return [str(number) for number in range(torch.cuda.device_count())]
    names = [name.strip() for name in devices.split(",")]
    if not all(name.isdigit() for name in names) or len({*names}) != len(names):
        raise ValueError(f"--devices {devices}: give auto, or different numbers such as 0,1")
    return names


def without(argv: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return a command line without some options and their values."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in options:
            kept.append(word)
        elif not equals and name not in _WITHOUT_VALUE:
            next(words, None)
    return kept
