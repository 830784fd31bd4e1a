"""What config classes share: rules that name the broken field, and reading them from JSON."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from functools import cache
from operator import attrgetter
from typing import Any

from shards.suggest import nearest, suggest

Rule = tuple[str, bool, str]
"""A field's dotted name, whether its value may be so, and what it must be."""


def check(owner: str, config: Any, *rules: Rule) -> None:
    """Raise ValueError at the first rule that does not hold, with the field and its value.

    Args:
        owner: The config's place in the whole, `vision` for example; empty for the whole.
        config: Has the fields that the rules name.
        rules: All are computed before the first is looked at.
    """
    for name, holds, wanted in rules:
        require(f"{owner}.{name}".lstrip("."), attrgetter(name)(config), holds, wanted)


def require(name: str, value: Any, holds: bool, wanted: str) -> None:
    """Raise ValueError with the field, its value and what it must be unless the rule holds."""
    if not holds:
        raise ValueError(f"model setting {name} is {value!r}; it must be {wanted}")


def known(owner: str, config: Any, name: str, choices: Iterable[str]) -> None:
    """Require a field to be one of some names."""
    names, value = list(choices), attrgetter(name)(config)
    close = nearest(value, names) if isinstance(value, str) else None
    hint = f"; did you mean {close}?" if close else ""
    check(owner, config, (name, value in names, f"one of {', '.join(names)}{hint}"))


def literal(owner: str, config: Any, name: str) -> None:
    """Require a field to be one of the values of its Literal."""
    cls: Any = type(config)
    known(owner, config, name, _choices(cls, name))


@cache  # a config is made anew for every step of a run
def _choices(cls: type, name: str) -> tuple[str, ...]:
    return typing.get_args(typing.get_type_hints(cls)[name])


def positive(owner: str, config: Any, *names: str) -> None:
    """Require some fields to be above 0."""
    check(owner, config, *((name, getattr(config, name) > 0, "positive") for name in names))


def parse(cls: type, data: dict[str, Any], prefix: str = "") -> Any:
    """Build a config class from JSON data, classes within it too.

    Raises:
        ValueError: An unknown or missing field, with its dotted name.
    """
    types = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(types))
    if unknown:
        raise ValueError(
            f"unknown model setting {prefix}{unknown[0]}; {suggest(unknown[0], types)}"
        )
    values = {}
    for name, value in data.items():
        nested = [t for t in (types[name], *typing.get_args(types[name])) if _is_config(t)]
        if nested and isinstance(value, dict):
            value = parse(nested[0], value, f"{prefix}{name}.")
        values[name] = tuple(value) if isinstance(value, list) else value
    missing = sorted(
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )
    if missing:
        raise ValueError(f"model setting {prefix}{missing[0]} is missing")
    return cls(**values)


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
