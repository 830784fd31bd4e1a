"""Metadata for the benchmarks, written by a child process: LAION's joined columns, from seeds.

    python -m benchmarks.corpus FOLDER FILES

File i holds 500,000 rows that depend only on i, so a larger folder begins with the files of a
smaller one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import run

FILE_ROWS = 500_000
SOURCE = "laion2b_en_joined"
_SEED = 7


def metadata(folder: Path, rows: int) -> list[Path]:
    """Return metadata files in a folder, writing those that are missing."""
    files = max(1, rows // FILE_ROWS)
    paths = [folder / f"part-{index:05d}.parquet" for index in range(files)]
    if not all(path.exists() for path in paths):
        run(["-m", "benchmarks.corpus", str(folder), str(files)])
    return paths


def inputs(paths: list[Path]) -> list[str]:
    """Return `--input` options that name the files one by one."""
    return [f"--input={SOURCE}={path}" for path in paths]


def main() -> None:
    """Write the files."""
    from helpers.pipelines import laion_like

    folder, files = Path(sys.argv[1]), int(sys.argv[2])
    made = laion_like.write_many(folder, SOURCE, files * FILE_ROWS, files, _SEED, drift=False)
    for _ in made:
        pass


if __name__ == "__main__":
    main()
