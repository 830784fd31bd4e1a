"""The Dockerfile says what the lock and the project say; no engine is needed to know that."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from scripts.worker_requirements import LOCK, ROOT

Instruction = tuple[str, str]  # its name in capitals, and the rest of its line


def instructions(text: str) -> list[Instruction]:
    """Return a Dockerfile's instructions, comments and line continuations resolved."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in pairs]


FILE = instructions((ROOT / "Dockerfile").read_text())


def values(name: str) -> list[str]:
    """Return what follows each instruction of a name."""
    return [rest for found, rest in FILE if found == name]


def sources() -> list[str]:
    """Return every path that is copied from the build context."""
    return [source for rest in values("COPY") for source in shlex.split(rest)[:-1]]


def test_the_parser_joins_lines_and_drops_comments() -> None:
    text = "# syntax\nfrom a AS b\nRUN x \\\n    # inside\n    y\n\nUSER c\n"
    assert instructions(text) == [("FROM", "a AS b"), ("RUN", "x      y"), ("USER", "c")]


def test_the_base_is_the_locks_beam_and_the_projects_python() -> None:
    (base,) = values("FROM")
    match = re.fullmatch(r"apache/beam_python([0-9.]+)_sdk:([0-9.]+) AS worker", base)
    assert match, base
    beam = re.search(r"(?m)^apache-beam==(\S+)", LOCK.read_text())
    lock_python = re.search(r"--python-version ([0-9.]+)", (ROOT / "Makefile").read_text())
    lowest = re.search(r'requires-python = ">=([0-9.]+),', (ROOT / "pyproject.toml").read_text())
    assert beam and lock_python and lowest
    assert match.groups() == (lock_python[1], beam[1])
    assert lowest[1] == lock_python[1]


def test_it_ends_without_root_and_with_beams_entry_point() -> None:
    last = FILE[-1]
    assert last == ("USER", "${run_as}")
    defaults = dict(rest.split("=") for rest in values("ARG"))
    assert defaults["run_as"] not in ("root", "0", "")
    assert any(f"useradd --system --create-home {defaults['run_as']}" in r for r in values("RUN"))
    assert not values("ENTRYPOINT") and not values("CMD")


def test_everything_is_installed_from_the_lock_alone() -> None:
    installs = [rest for rest in values("RUN") if "pip install" in rest]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0] and "worker-requirements.txt" in installs[0]
    assert "--no-build-isolation" in installs[1]
    assert all("--no-deps" in rest for rest in installs)


@pytest.mark.parametrize("source", sources())
def test_what_is_copied_exists_and_is_in_the_context(source: str) -> None:
    made = "> build/worker-requirements.txt" in (ROOT / "Makefile").read_text()
    assert Path(ROOT, source).exists() or (made and source == "build/worker-requirements.txt")
    assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_every_package_is_copied() -> None:
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = find_packages(str(ROOT), include=find["find"]["include"])
    assert {"pipelines", "shards", "shards.image"} <= {*packages}
    assert {name.partition(".")[0] for name in packages} <= {
        source.rstrip("/") for source in sources()
    }


def test_every_folder_of_source_is_a_package() -> None:
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {*find_packages(str(ROOT), include=find["find"]["include"])}
    files = (path for name in packages if "." not in name for path in (ROOT / name).rglob("*.py"))
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in files} == packages
