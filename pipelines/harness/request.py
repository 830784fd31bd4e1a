"""What a job is asked to do, as one frozen value: its options, each a field of the same name.

It is made once from the parsed command line. `run.json` and the fingerprints keep the options
that change the output, and a later command reads them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from pipelines.harness.options import Option


@dataclass(frozen=True, kw_only=True)
class Request:
    """Base of the jobs' requests. A subclass has a field for every option that its job uses."""

    @classmethod
    def of(cls, values: Mapping[str, Any], place: str = "the command line") -> Self:
        """Make a request from option values by name; lists become tuples, others are ignored.

        Args:
            values: Parsed options, or those of a `run.json`.
            place: Where they are from, for the error.

        Raises:
            ValueError: An option is missing.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in values]:
            raise ValueError(
                f"{place} has no value for {', '.join(missing)}, so another release wrote it; "
                "resume with that release, or start again in another --output"
            )
        return cls(**{name: _frozen(values[name]) for name in names})

    def recorded(self, options: Iterable[Option], leave_out: Iterable[str] = ()) -> dict[str, Any]:
        """Return the options that change the output as JSON has them, so with lists for tuples."""
        return {
            option.name: _plain(getattr(self, option.name))
            for option in options
            if option.affects_output and option.name not in leave_out
        }


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
