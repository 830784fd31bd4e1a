"""Parameters as text: what a filter lets one set, and how `5`, `0.3` or `a,b` become values.

In: a filter class and strings from a command line or a settings file. Out: typed values for its
constructor, or a `ValueError` that says what was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from filters.base import Filter


@dataclasses.dataclass(frozen=True)
class ParameterInfo:
    """One settable parameter of a filter."""

    name: str
    type: str  # "int", "float", "int,...", "str,..." or the allowed words joined by "|"
    default: Any
    help: str  # meaning and unit


def parameters_of(filter_class: type[Filter]) -> list[ParameterInfo]:
    """List the parameters of a filter in declaration order."""
    hints = typing.get_type_hints(filter_class)
    return [
        ParameterInfo(f.name, _type_name(hints[f.name]), f.default, f.metadata["help"])
        for f in dataclasses.fields(filter_class)
    ]


def parse_parameter(filter_class: type[Filter], name: str, text: str) -> Any:
    """Parse the value of one parameter.

    Raises:
        ValueError: the filter has no such parameter, or the text is not of its type.
    """
    infos = {info.name: info for info in parameters_of(filter_class)}
    if name not in infos:
        raise ValueError(
            f"{filter_class.name} has no parameter {name!r}; {suggestion(name, infos)}"
        )
    info = infos[name]
    value = text.strip()
    if info.type.endswith(",..."):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if info.type == "str,...":
            return tuple(parts)
        return tuple(_number(f"{filter_class.name}.{name}", "int", part) for part in parts)
    if info.type in ("int", "float"):
        return _number(f"{filter_class.name}.{name}", info.type, value)
    if value not in info.type.split("|"):
        raise ValueError(f"{filter_class.name}.{name} must be one of {info.type}, not {text!r}")
    return value


def build_filter(filter_class: type[Filter], settings: Mapping[str, str]) -> Filter:
    """Build a filter from text settings (parameter name to value), defaults for the rest.

    Raises:
        ValueError: an unknown parameter, an unparsable value, or one the filter refuses.
    """
    values = {name: parse_parameter(filter_class, name, text) for name, text in settings.items()}
    return filter_class(**values)


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Phrase the nearest known name, or all of them where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "there is nothing to set"


def _number(where: str, kind: str, text: str) -> int | float:
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        wanted = "a whole number" if kind == "int" else "a number"
        raise ValueError(f"{where} must be {wanted}, not {text!r}") from None


def _type_name(hint: Any) -> str:
    if hint in (int, float):
        return str(hint.__name__)
    if typing.get_origin(hint) is tuple:
        return f"{typing.get_args(hint)[0].__name__},..."
    assert typing.get_origin(hint) is typing.Literal, hint
    return "|".join(typing.get_args(hint))
