"""Finds what the files of a package declare, so that adding one thing means adding one file."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol, TypeVar


class Named(Protocol):
    """A declaration: it says its name, and whatever else help and docs show."""

    @property
    def name(self) -> str:
        """What people type."""


N = TypeVar("N", bound=Named)


def declared(package: ModuleType, attribute: str, kind: type[N]) -> dict[str, N]:
    """Return the declarations of a package's files by name, in the order of the files' names.

    Args:
        package: Its files are imported; a file without the attribute declares nothing.
        attribute: Name of the tuple of declarations in each file, such as `SOURCES`.
        kind: What every member of the tuple is.

    Raises:
        ValueError: Two declarations share a name, or the attribute is not a tuple of the kind.
    """
    homes: dict[str, str] = {}
    declarations: dict[str, N] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        members = getattr(importlib.import_module(info.name), attribute, ())
        if not isinstance(members, tuple) or not all(isinstance(m, kind) for m in members):
            raise ValueError(f"{info.name}: {attribute} must be a tuple of {kind.__name__}")
        for declaration in members:
            name = declaration.name
            if name in homes:
                raise ValueError(f"{info.name} and {homes[name]} both declare {name!r}")
            homes[name], declarations[name] = info.name, declaration
    return declarations
