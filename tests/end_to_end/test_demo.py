"""`make demo` ends well, and what it wrote keeps the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards.lint import lint
from shards.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 197 rows are where they were planted" in done.stdout
    assert "above 3/4; every stage's numbers add up" in done.stdout
    assert "the loss fell from" in done.stdout
    for run in ("run", "grounded"):
        assert list(lint(Store(tmp_path / "demo-out" / run))) == []
