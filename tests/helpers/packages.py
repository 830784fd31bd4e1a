"""Packages made on the spot, for what is found by walking a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest


def make_package(
    patch: pytest.MonkeyPatch, folder: Path, name: str, files: dict[str, str]
) -> ModuleType:
    """Write files (stem to text) into a folder and return it as an imported package."""
    for stem, text in files.items():
        folder.joinpath(f"{stem}.py").write_text(text, encoding="utf-8")
        patch.delitem(sys.modules, f"{name}.{stem}", raising=False)
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    patch.setitem(sys.modules, name, package)
    return package
