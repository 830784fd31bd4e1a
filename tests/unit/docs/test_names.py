"""Modules and files that docstrings and pages name are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.paths import ROOT

import pipelines
from scripts.commands import COMMANDS

FOLDERS = ("shards", "filters", "grounding", "pipelines", "cogvlm", "scripts", "examples")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]
SOURCES = [file for folder in (*FOLDERS, "benchmarks") for file in (ROOT / folder).rglob("*.py")]

_OURS = "|".join((*FOLDERS, "benchmarks"))
_MODULE = re.compile(rf"(?<![\w./@-])(?:{_OURS})(?:\.[A-Za-z_]\w*)+(?![\w/])")
_FILE = re.compile(rf"(?<![\w./-])(?:{_OURS}|docs|tests)/[\w./-]+\.(?:py|md|txt|toml|json)\b")
_LISTED = re.compile(r"^- ((?:`\w+`(?:, | and )?)+):", re.MULTILINE)
_MADE_UP = re.compile(r"[A-Z]+\.\w+$")  # results/DATE.md
_ENDINGS = ("md", "json", "txt", "html", "npy", "parquet")


@pytest.mark.parametrize("file", [*PAGES, *SOURCES], ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_named_exists(file: Path) -> None:
    text = "\n".join(_texts(file))
    modules = [name for name in _MODULE.findall(text) if not name.endswith(_ENDINGS)]
    assert [name for name in modules if not _is_there(name)] == []
    if "extending" in file.parts:  # these pages name files that the reader is to write
        return
    files = [name for name in _FILE.findall(text) if not _MADE_UP.search(name)]
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "package",
    [file.parent for file in SOURCES if file.name == "__init__.py"],
    ids=lambda folder: str(folder.relative_to(ROOT)),
)
def test_a_package_lists_modules_that_it_has(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse(package.joinpath("__init__.py").read_text("utf-8")))
    listed = [
        name for line in _LISTED.findall(docstring or "") for name in re.findall(r"\w+", line)
    ]
    assert [name for name in listed if name != "and" and not _has(package, name)] == []


def test_every_job_is_listed() -> None:
    jobs = [name.removeprefix("pipelines.") for name in COMMANDS if name.startswith("pipelines.")]
    assert [job for job in jobs if f"`{job}`" not in (pipelines.__doc__ or "")] == []


def _texts(file: Path) -> Iterator[str]:
    """Yield a page, or the docstrings of a source file."""
    text = file.read_text("utf-8")
    if file.suffix == ".md":
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""


def _is_there(name: str) -> bool:
    """Say whether a dotted name is a module, or a module and a name in its text."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        folder, rest = ROOT.joinpath(*parts[:count]), parts[count:]
        files = (folder.with_suffix(".py"), folder / "__init__.py")
        if source := next((file for file in files if file.is_file()), None):
            return all(re.search(rf"\b{word}\b", source.read_text("utf-8")) for word in rest)
    return False


def _has(package: Path, name: str) -> bool:
    return package.joinpath(f"{name}.py").is_file() or package.joinpath(name).is_dir()
