"""`python -m scripts.worker_requirements`: what a worker image installs, pinned by the lock.

Goes in: `pyproject.toml`, `requirements.lock` and the metadata of the installed packages.
Comes out: on standard output, the lock's entries with their hashes for Beam, for the core
dependencies and for what builds the package. `make image` keeps them in `build/` for the
Dockerfile; the tests' worker environment is made from the same functions.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
BEAM = "apache-beam[gcp]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--extra", action="append", default=[], help="of the project, such as grounding; repeatable"
    )
    extras = parser.parse_args(arguments).extra
    sys.stdout.write(locked(closure(image_requirements(extras)), LOCK.read_text()))


def core_requirements() -> list[str]:
    """Return the project's dependencies without extras, and Beam as its own image has it."""
    return [*_project()["project"]["dependencies"], BEAM]


def image_requirements(extras: Sequence[str] = ()) -> list[str]:
    """Return what an image installs: core, extras, and what builds the package without a download.

    Raises:
        ValueError: The project has no such extra.
    """
    known = _project()["project"]["optional-dependencies"]
    if unknown := sorted({*extras} - {*known}):
        raise ValueError(f"no extra {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [text for extra in extras for text in known[extra]]
    return [*core_requirements(), *wanted, *_project()["build-system"]["requires"]]


def _project() -> dict[str, Any]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the canonical names of everything the requirements need, themselves included.

    Follows the metadata of the packages installed here, which the lock describes. Markers
    are judged for this machine too: run it on the workers' platform and Python.
    """
    todo = [Requirement(text) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        node = (str(canonicalize_name(requirement.name)), frozenset(requirement.extras))
        if node in seen:
            continue
        seen.add(node)
        for text in metadata.requires(requirement.name) or []:
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(
                marker.evaluate({"extra": x}) for x in ("", *requirement.extras)
            ):
                todo.append(needed)
    return {name for name, _ in seen}


def locked(names: set[str], lock: str) -> str:
    """Return the lines of a lock, hashes included, that pin these names.

    Raises:
        ValueError: The lock does not pin one of them.
    """
    entries = [entry for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", lock) if entry[:1].isalnum()]
    pins: dict[str, str] = {}
    for entry in entries:  # one name may have several entries, for different markers
        name = str(canonicalize_name(re.split(r"[=\[ ;]", entry)[0]))
        pins[name] = pins.get(name, "") + entry
    if missing := sorted(names - pins.keys()):
        raise ValueError(f"requirements.lock lacks {', '.join(missing)}; type make lock")
    return "".join(pins[name] for name in sorted(names))


if __name__ == "__main__":
    main()
