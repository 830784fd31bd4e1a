"""Training runs as their users start them: separate processes, one or several ranks, killable."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cogvlm.checkpoints import opened, snapshots
from cogvlm.training.watch import read_log

_LIMIT_S = 240


class Training:
    """The processes of a run, one a rank; ended when the block is left."""

    def __init__(self, *arguments: object, ranks: int = 1) -> None:
        command = [sys.executable, "-m", "cogvlm.train", *map(str, arguments)]
        shared = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        if ranks > 1:
            shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
            shared |= {"WORLD_SIZE": str(ranks), "GLOO_SOCKET_IFNAME": "lo"}
        self.processes = [
            subprocess.Popen(
                command,
                env={**os.environ, **shared, **({"RANK": str(rank)} if ranks > 1 else {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            for rank in range(ranks)
        ]

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate(timeout=30)

    def ended(self) -> tuple[int, str]:
        """Wait; return the worst exit code and all that was said."""
        said = [process.communicate(timeout=_LIMIT_S)[0] for process in self.processes]
        return max(abs(process.returncode) for process in self.processes), "\n".join(said)

    def wait_for_snapshot(self, run: Path, step: int) -> None:
        """Return as soon as the run has a finished snapshot of a step or later."""
        limit = time.monotonic() + _LIMIT_S
        while not any(each.step >= step for each in snapshots.snapshots_of(run)):
            assert time.monotonic() < limit, "the run made no snapshot"
            assert all(process.poll() is None for process in self.processes), self.ended()[1]
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Signal every rank and its loader processes, as schedulers do."""
        for process in self.processes:
            os.killpg(process.pid, number)


def finish(*arguments: object, ranks: int = 1) -> str:
    """Run to the end; return what was said."""
    with Training(*arguments, ranks=ranks) as training:
        code, said = training.ended()
    assert code == 0, said
    return said


def kill_after(run: Path, step: int, *arguments: object, ranks: int = 1) -> None:
    """Run until the snapshot of a step is there, then kill -9 all of it."""
    with Training(*arguments, ranks=ranks) as training:
        training.wait_for_snapshot(run, step)
        training.send(signal.SIGKILL)


def steps(run: Path) -> list[tuple[int, float, str]]:
    """Return number, loss and samples of every step in a run's log."""
    log: Sequence[dict[str, Any]] = read_log(run)
    return [(each["step"], each["loss"], each["keys"]) for each in log if each["kind"] == "step"]


def weights(run: Path, kind: opened.Weights) -> dict[str, torch.Tensor]:
    """Return a run's last weights by name."""
    return dict(opened.open_model(run, dtype=None, weights=kind).named_parameters())


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
