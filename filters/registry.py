"""Finds the rules by their declarations: a new rule is a new class in `filters/rules`.

In: a package of rule files. Out: the rule classes by `name`. Listing them imports neither pyarrow
nor anything else that is slow to load; see `filters.base` for how rule files keep it that way.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import filters.rules
from filters.base import Filter, undeclared


def find_rules(package: ModuleType) -> dict[str, type[Filter]]:
    """Return the rules of a package by name, in the order of its files' names.

    Raises:
        ValueError: two rules share a name, or a rule lacks a part of its declaration, or has
            parameters without being a dataclass.
    """
    rules: dict[str, type[Filter]] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for rule in _rules_in(importlib.import_module(info.name)):
            if missing := undeclared(rule):
                raise ValueError(
                    f"{info.name}.{rule.__name__} lacks {', '.join(missing)}; "
                    "a rule declares name, columns, reasons and summary"
                )
            if _has_undecorated_fields(rule):
                raise ValueError(
                    f"{info.name}.{rule.__name__} has parameters and is not a dataclass; decorate "
                    "it with @dataclasses.dataclass(frozen=True, kw_only=True)"
                )
            if rule.name in rules:
                other = rules[rule.name].__module__
                raise ValueError(f"{info.name} and {other} both have a rule {rule.name!r}")
            rules[rule.name] = rule
    return rules


def _rules_in(module: ModuleType) -> Iterator[type[Filter]]:
    """Yield the public rule classes that a file defines, not those that it imports."""
    for value in vars(module).values():
        is_rule = isinstance(value, type) and issubclass(value, Filter)
        if is_rule and value.__module__ == module.__name__ and not value.__name__.startswith("_"):
            yield value


def _has_undecorated_fields(rule: type[Filter]) -> bool:
    """Whether a class annotates fields that no decorator of its own has made parameters."""
    own = vars(rule)
    return bool(own.get("__annotations__")) and "__dataclass_fields__" not in own


def by_family(rules: dict[str, type[Filter]]) -> dict[str, tuple[type[Filter], ...]]:
    """Group rules by the first part of their names."""
    families: dict[str, tuple[type[Filter], ...]] = {}
    for name, rule in rules.items():
        family = name.partition(".")[0]
        families[family] = (*families.get(family, ()), rule)
    return families


FILTERS = find_rules(filters.rules)
"""Every rule by name."""

FAMILIES = by_family(FILTERS)
"""The rules by the first part of their names."""
