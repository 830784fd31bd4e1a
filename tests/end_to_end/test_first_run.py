"""`docs/first-run.md`: its commands run one after the other and print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from pipelines import filter as filter_job

_BLOCK = re.compile(r"^```(bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_first_run(tmp_path: Path) -> None:
    page = ROOT.joinpath("docs", "first-run.md").read_text(encoding="utf-8")
    (_, serve), *blocks = _BLOCK.findall(page)
    web = subprocess.Popen(
        ["bash", "-c", f"exec {serve}"],
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert web.stdout is not None
        assert any("35 rows" in line for line in iter(web.stdout.readline, ""))
        printed = ""
        for kind, text in blocks:
            if kind == "bash":
                printed = _run(text, tmp_path)
            for line in text.splitlines() if kind == "text" else ():
                assert _plain(line) in _plain(printed), f"{line}\n\nis not in\n\n{printed}"
    finally:
        web.terminate()  # not an interrupt, which a run in the background may ignore
        web.wait(timeout=30)
    assert (tmp_path / "first-run/run/report.html").is_file()


@pytest.mark.parametrize(
    ("columns", "table", "symptom"),
    [
        (
            "url=text,caption=link",
            b"link,text\nhttp://a.com/1.jpg,a dog on a mat\n",
            "url_malformed 1",
        ),
        (
            "url=link,caption=text",
            b"link,text\nhttp://a.com/1.jpg,caf\xe9 au lait\n",
            "invalid_text 1",
        ),
        ("url=0,caption=1", b"http://a.com/1.jpg,a dog on a mat\n", "generic: 1 rows, 1 kept"),
        (
            "url=link,caption=text",
            b"URL,text\nhttp://a.com/1.jpg,a dog\n",
            "needs a column for 'url'",
        ),
    ],
)
def test_symptoms(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    columns: str,
    table: bytes,
    symptom: str,
) -> None:
    """The page's last table: what a wrong option or file looks like."""
    rows, out = tmp_path / "rows.csv", tmp_path / "run"
    rows.write_bytes(table)
    options = f"--columns {columns} --nsfw_missing keep --stop_after filter --output {out}"
    filter_job.main(["--input", f"generic={rows}", *options.split()])
    assert symptom in "".join(capsys.readouterr())


def _run(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{script}\n\n{done.stdout}"
    return done.stdout


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def _plain(text: str) -> str:
    """Return the text with every run of blanks as one: tables are as wide as the terminal."""
    return " ".join(text.split())
