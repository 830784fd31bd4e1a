"""A million rows go through filter and mix in bounded memory.

The bench does the same with 20 M rows in under 4 GB (`python -m benchmarks.mix_memory --full`).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.pipelines import laion_like

pytestmark = pytest.mark.slow

ROWS = 1_000_000
MAX_MB = 1_000
"""About 225 MB of libraries, and one bucket of all kept rows: 110 bytes each on disk."""

# The high-water mark that the kernel keeps of a child starts at its parent's size; the one in
# /proc starts anew with the program.
CHILD = """
import pathlib, sys
from pipelines import filter
code = filter.main(sys.argv[1:])
status = pathlib.Path("/proc/self/status").read_text()
print("peak_kb", status.partition("VmHWM:")[2].split()[0])
sys.exit(code)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_filter_and_mix_of_a_million_rows(tmp_path):
    metadata = tmp_path / "metadata"
    paths = laion_like.write(metadata, "laion2b_en_joined", ROWS, files=2, seed=11, drift=False)
    done = subprocess.run(
        [
            sys.executable, "-c", CHILD, f"--input=laion2b_en_joined={metadata}/*.parquet",
            f"--output={tmp_path / 'run'}", "--stop_after=mix",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    peak_mb = int(done.stdout.rpartition("peak_kb")[2]) / 1024
    size_mb = sum(path.stat().st_size for path in paths) / 2**20
    assert peak_mb < MAX_MB, f"{peak_mb:.0f} MB for {size_mb:.0f} MB of metadata"
