"""The environment of a Dataflow worker: Beam and the project's core dependencies, no more.

`worker_python()` builds it once per test session, from the lock and with its hashes, and
returns its interpreter. The package itself is not in it: the service installs what a job
staged, and so does `install_staged`. Building needs a package index; without one the test
that asks is skipped.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.worker_requirements import LOCK, closure, core_requirements, locked

_UNREACHABLE = re.compile(
    r"failed to fetch|error sending request|dns error|connection|network|temporary failure", re.I
)


@functools.cache
def worker_python() -> str:
    """Return the interpreter of the worker environment, building it on the first call."""
    folder = tempfile.TemporaryDirectory(prefix="groundwork-worker-")
    _kept.append(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder.name], check=True)
    python = f"{folder.name}/bin/python"
    wanted = Path(folder.name, "requirements.txt")
    wanted.write_text(locked(closure(core_requirements()), LOCK.read_text()))
    try:
        install(python, ["--require-hashes", "--no-deps", "-r", str(wanted)])
    except NoIndexError as error:
        pytest.skip(str(error))
    return python


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the interpreter ends


class NoIndexError(RuntimeError):
    """No package index could be reached."""


def install(python: str, arguments: Sequence[str]) -> None:
    """Install into the environment of `python`: with uv, or with pip where uv finds no index.

    uv takes 3 s from its cache where pip takes 40; pip is the one that knows this machine's
    index where it is not the public one.

    Raises:
        NoIndexError: Neither reached an index.
        RuntimeError: The last of them failed for another reason.
    """
    installers = [[sys.executable, "-m", "pip", "--python", python, "install", "--retries=1"]]
    if uv := shutil.which("uv", path=str(Path(sys.executable).parent)):
        installers.insert(0, [uv, "pip", "install", f"--python={python}"])
    for command in installers:
        done = subprocess.run(
            [*command, "--quiet", *arguments], capture_output=True, text=True, timeout=600
        )
        if done.returncode == 0:
            return
    reason = done.stderr.strip()[-2000:]
    if _UNREACHABLE.search(reason):
        raise NoIndexError(f"no package index is reachable: {reason.splitlines()[-1]}")
    raise RuntimeError(f"{arguments} cannot be installed: {reason}")


def install_staged(python: str, sdist: Path, target: Path) -> None:
    """Install a staged source distribution beside the environment, without its dependencies."""
    install(python, ["--no-deps", f"--target={target}", str(sdist)])
