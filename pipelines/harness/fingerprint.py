"""Whether a restart is still the same run: one fingerprint per stage, over what makes its bytes.

Never in it: workers, launchers, runner, timeouts, rates, project, logging.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shards.files.commit import encode
from shards.schema import CONTRACT_VERSION

LIBRARIES = "libraries"


@dataclass(frozen=True)
class Fingerprint:
    """The facts a stage's bytes depend on, flat, and their hash."""

    stage: str
    facts: Mapping[str, Any]  # dotted name -> JSON value

    @property
    def digest(self) -> str:
        """sha256 over all facts, hex."""
        return hashlib.sha256(encode(dict(self.facts))).hexdigest()


def fingerprint(
    stage: str,
    *,
    previous: tuple[str, str] | None,
    options: Mapping[str, Any],
    data: Mapping[str, Any],
    libraries: Iterable[str],
) -> Fingerprint:
    """Collect a stage's facts.

    Args:
        stage: Its name.
        previous: Name and digest of the stage it reads from.
        options: Options that affect its output, by flag.
        data: Everything else its bytes depend on: inputs, chains, sha256 of data files.
        libraries: Distributions whose version shows in the bytes.
    """
    facts: dict[str, Any] = {"contract": CONTRACT_VERSION}
    if previous is not None:
        facts[f"stage {previous[0]}"] = previous[1]
    facts |= {f"--{name}": value for name, value in options.items()}
    facts |= dict(data)
    facts |= {f"{LIBRARIES}.{name}": importlib.metadata.version(name) for name in libraries}
    return Fingerprint(stage, facts)


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (name, recorded value, value now) of every fact that differs, sorted by name."""
    names = sorted({*recorded, *now})
    return [
        (name, recorded.get(name), now.get(name))
        for name in names
        if recorded.get(name) != now.get(name)
    ]


def only_libraries(different: Iterable[tuple[str, Any, Any]]) -> bool:
    """Tell whether nothing but library versions differs."""
    return all(name.startswith(f"{LIBRARIES}.") for name, _, _ in different)
