"""`make demo` ends well, and what it wrote keeps the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from shards.files.store import Store
from shards.lint import lint


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--scenes", "160", "--steps", "30"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(line.split("  ", 1) for line in done.stdout.rsplit("\n\n", 1)[1].splitlines())
    summary = {what: value.strip() for what, value in table.items()}
    assert summary["rows of metadata"] == "197, each with the expected outcome"
    assert summary["image-text samples"] == "168; 21 kinds of faults"
    assert summary["grounded samples"].endswith("with two boxes or more")
    assert "after 30 steps" in summary["loss, nats per token"]
    assert "0.000 before" in summary["REC accuracy@0.5"]
    for run in ("run", "grounded"):
        assert list(lint(Store(tmp_path / "demo-out" / run))) == []
    page = (tmp_path / summary["report"]).read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http_not_found" in page
