"""What config classes share: rules that name the broken field, and reading them from JSON."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


def require(name: str, value: Any, holds: bool, rule: str) -> None:
    """Raise ValueError with the field, its value and the rule unless the rule holds."""
    if not holds:
        raise ValueError(f"model setting {name} is {value!r}; it must be {rule}")


def known(name: str, value: Any, choices: Any) -> None:
    """Require one of a Literal's values."""
    allowed = typing.get_args(choices)
    require(name, value, value in allowed, f"one of {', '.join(map(str, allowed))}")


def positive(prefix: str, config: Any, *names: str) -> None:
    """Require some fields to be above 0."""
    for name in names:
        value = getattr(config, name)
        require(f"{prefix}.{name}".lstrip("."), value, value > 0, "positive")


def parse(cls: type, data: dict[str, Any], prefix: str = "") -> Any:
    """Build a config class from JSON data, classes within it too.

    Raises:
        ValueError: An unknown or missing field, with its dotted name.
    """
    types = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(types))
    if unknown:
        raise ValueError(f"unknown model setting {prefix}{unknown[0]}; known: {', '.join(types)}")
    values = {}
    for name, value in data.items():
        nested = [t for t in (types[name], *typing.get_args(types[name])) if _is_config(t)]
        if nested and isinstance(value, dict):
            value = parse(nested[0], value, f"{prefix}{name}.")
        values[name] = tuple(value) if isinstance(value, list) else value
    missing = sorted(
        each.name
        for each in dataclasses.fields(cls)
        if each.name not in values
        and each.default is dataclasses.MISSING
        and each.default_factory is dataclasses.MISSING
    )
    if missing:
        raise ValueError(f"model setting {prefix}{missing[0]} is missing")
    return cls(**values)


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
