"""Parsing a command line: ours first, without abbreviations; the rest must be options of Beam's.

What neither knows is an error that suggests the nearest. Beam is imported only when
something is left over, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pipelines.harness.options import Option
from shards.suggest import nearest

DEFAULT_RUNNER = "FnApiRunner"
LOCAL_RUNNERS = ("fnapirunner", "directrunner")
"""In lower case. Beam's DirectRunner is another engine where a download succeeds: not used."""

_REPLACED = {"--metadata_only": "--stop_after filter"}
"""Options of earlier releases, and what does the same now."""


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line; the usage of sixty options would hide it."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and exit with code 2."""
        self.exit(2, f"error: {message}\n")


def build_parser(program: str, about: str, options: Sequence[Option]) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    parser = _Parser(
        prog=f"python -m {program}",
        usage=f"python -m {program} --output OUT [options]",
        description=about,
        allow_abbrev=False,
        epilog="Options of Beam's own, such as --runner=DataflowRunner: see --help_beam.",
    )
    parser.add_argument("--help_beam", action="store_true", help="print Beam's options and stop")
    for option in options:
        parser.add_argument(f"--{option.name}", **_arguments(option))
    return parser


def _arguments(option: Option) -> dict[str, Any]:
    if option.flag:
        return {"action": "store_true", "help": option.help}
    shown = "" if option.default in (None, "") else f" (default {option.default})"
    return {
        "action": "append" if option.repeat else "store",
        "type": option.type,
        "default": [] if option.repeat else option.default,
        "choices": option.choices,
        "metavar": option.metavar,
        "help": option.help.replace("%", "%%") + shown,
    }


@dataclass(frozen=True)
class Parsed:
    """A parsed command line."""

    values: argparse.Namespace  # ours
    beam: tuple[str, ...]  # what is left for Beam, `--runner` included
    runner: str


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str], options: Sequence[Option]
) -> Parsed:
    """Parse a command line; exits with code 2 and one line on a mistake."""
    values, rest = parser.parse_known_args(argv)
    if values.help_beam:
        _beam_parser().print_help()
        parser.exit()
    runner = _runner(rest)
    if "dask" in runner.lower():
        parser.error(
            "DaskRunner drops finish_bundle output, mixes up tagged outputs and can end with "
            "empty files, all without an error; use FnApiRunner (the default) or DataflowRunner"
        )
    if rest:
        _check_unknown(parser, rest, options)
    return Parsed(values, tuple(rest), runner)


def _runner(rest: Sequence[str]) -> str:
    for position, argument in enumerate(rest):
        if argument == "--runner" and position + 1 < len(rest):
            return rest[position + 1]
        if argument.startswith("--runner="):
            return argument.partition("=")[2]
    return DEFAULT_RUNNER


def _beam_parser() -> argparse.ArgumentParser:
    from apache_beam.options import pipeline_options

    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    pending = [pipeline_options.PipelineOptions]
    while pending:
        for subclass in pending.pop().__subclasses__():
            pending.append(subclass)
            add = getattr(subclass, "_add_argparse_args", None)
            if add is not None:
                add(parser)
    return parser


def _check_unknown(
    parser: argparse.ArgumentParser, rest: Sequence[str], options: Sequence[Option]
) -> None:
    beam = _beam_parser()
    left = beam.parse_known_args(list(rest))[1]
    unknown = [word for word in left if word.startswith("-")]
    if not unknown:
        if left:
            parser.error(f"{left[0]!r} belongs to no option; quote globs, repeat --input for more")
        return
    given = unknown[0].partition("=")[0]
    ours = [f"--{option.name}" for option in options]
    known = [*ours, *beam._option_string_actions]
    close = _REPLACED.get(given) or nearest(given, ours) or nearest(given, known)
    hint = f"did you mean {close}?" if close else "see --help and --help_beam"
    parser.error(f"no such option: {given}; {hint}")
