"""What the examples share: tables of metadata, and how to run a job as a command."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_MARK = ".groundwork-example"  # marks a folder that may be emptied
SAFE_SCORES = {"punsafe": 0.03, "pwatermark": 0.2, "similarity": 0.31}


@dataclass
class Corpus:
    """Rows of metadata, and how many must get which outcome."""

    base: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, caption: str | None, outcome: str, **columns: Any) -> None:
        """Add a row that must get this outcome, `sample` or a reason."""
        url = path if "://" in path or not path.startswith("/") else self.base + path
        size = {"WIDTH": 320, "HEIGHT": 240}
        self.rows.append({"URL": url, "TEXT": caption, **size, **SAFE_SCORES, **columns})
        self.expected[outcome] = self.expected.get(outcome, 0) + 1


def encoded(image: Image.Image, kind: str) -> bytes:
    """Return an image encoded in one of Pillow's formats."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_metadata(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as LAION publishes them, shuffled, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [("URL", pa.string()), ("TEXT", pa.string()), ("WIDTH", pa.int32()), ("HEIGHT", pa.int32())]
        + [(name, pa.float32()) for name in ("similarity", "punsafe", "pwatermark")]
    )
    order = np.random.default_rng(0).permutation(len(rows))
    for number, part in enumerate(np.array_split(order, 2)):
        table = pa.Table.from_pylist([rows[i] for i in part], schema)
        pq.write_table(table, folder / f"laion-{number}.parquet")


def fresh_folder(folder: Path) -> None:
    """Empty the folder of an earlier run of the examples, or create it.

    Raises:
        SystemExit: It holds other files, which are left alone.
    """
    if folder.exists() and not (folder / _MARK).is_file() and any(folder.iterdir()):
        sys.exit(f"{folder} holds files that the examples did not write; give another --output")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()


def run_command(command: str, *, threads: int | None = None) -> int:
    """Run `python -m …`, with a number of threads if given, and return its exit code."""
    say(f"$ python -m {command}")
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    arguments = [sys.executable, "-m", *shlex.split(command)]
    return subprocess.run(arguments, env=environment, check=False).returncode


def say(*lines: str) -> None:
    """Print lines without delay, since commands print between them."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
