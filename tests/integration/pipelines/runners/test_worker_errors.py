"""What a worker meets that the user can mend is one line on the terminal, on every local runner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines.portable import portable_options

MODES = {
    "one process": [],
    "processes": ["--workers=2"],
    "threads": ["--workers=2", "--worker_mode=threads"],
    "job service": portable_options(),
}
each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Write two sources, so two items: a good one, and one whose only page is damaged."""
    folder = tmp_path_factory.mktemp("inputs")
    columns = [[f"http://a.example.com/{i}.jpg" for i in range(30)], ["a caption"] * 30, [0.1] * 30]
    good = pa.table(columns, ["url", "text", "nsfw_score_gantman"])
    pq.write_table(good, folder / "good.parquet")
    bad = folder / "bad.parquet"
    pq.write_table(pa.table(columns, ["url", "caption", "nsfw_score"]), bad, compression="none")
    page = pq.read_metadata(bad).row_group(0).column(1).data_page_offset
    data = bad.read_bytes()
    bad.write_bytes(data[:page] + b"\xff" * 60 + data[page + 60 :])
    return [f"--input=coyo700m={folder}/good.parquet", f"--input={bad}"]


def filtered(inputs: list[str], output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "pipelines.filter", *inputs, f"--output={output}", *flags)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments, "--stop_after=filter"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@each_mode
def test_it_is_one_line(mode: str, inputs: list[str], tmp_path: Path) -> None:
    ended = filtered(inputs, tmp_path / "run", *MODES[mode])
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line.startswith("error: ") and "bad.parquet" in line and "--max_unreadable" in line
    assert "while running" not in line and "MendableError" not in line


@each_mode
def test_verbose_shows_the_traceback_before_it(
    mode: str, inputs: list[str], tmp_path: Path
) -> None:
    ended = filtered(inputs, tmp_path / "run", "--verbose", *MODES[mode])
    assert ended.returncode == 2 and ended.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback (most recent call last):" in ended.stderr
    assert "metadata/reader.py" in ended.stderr, "where the worker met it"


_FAULTY = """
import sys
from pipelines.filter_job import filter_item
def process(*_):
    try:
        raise ValueError("an error that was handled wrongly")
    except ValueError as error:
        raise KeyError("a fault of ours") from error
filter_item.FilterConfig.process = process
if __name__ == "__main__":
    from pipelines import filter
    sys.exit(filter.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("mode", ["one process", "threads"])
def test_a_fault_of_ours_keeps_its_traceback(mode: str, inputs: list[str], tmp_path: Path) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(_FAULTY)
    ended = python(str(script), *inputs, f"--output={tmp_path}/run", *MODES[mode])
    assert ended.returncode == 1 and "error: " not in ended.stderr.splitlines()[-1]
    assert "KeyError: 'a fault of ours'" in ended.stderr
    assert "faulty.py" in ended.stderr, "where it was raised"
