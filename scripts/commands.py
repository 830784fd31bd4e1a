"""The commands of this project and the options that each has, as their own parsers know them."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from unittest import mock

from cogvlm.training.config import TrainConfig
from pipelines.harness.options import Option

COMMANDS = (
    *("pipelines.filter", "pipelines.download", "pipelines.ground", "pipelines.pack"),
    *("pipelines.report", "pipelines.lint", "grounding.evaluate", "grounding.verify"),
    *("cogvlm.train", "cogvlm.trace", "cogvlm.evaluate", "cogvlm.evaluation.verify"),
    *("cogvlm.generate", "cogvlm.export", "cogvlm.build", "cogvlm.convert_tokenizer"),
    "cogvlm.plan",
)
"""Every `python -m` command that the packages offer."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a command takes."""

    groups: tuple[str, ...]  # shared ones that it has, each with all of its options
    options: tuple[tuple[Sequence[str], str], ...]  # names and meanings of the others


class _Caught(BaseException):
    """Carries a parser out of a command; no command handles it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def read(command: str, groups: Mapping[str, Sequence[Option]]) -> Command:
    """Return what a command takes, as far as possible by groups that commands share."""
    actions = {action.dest: action for action in _parser(command)._actions}
    has = [
        title
        for title, options in groups.items()
        if all(
            option.name in actions and _meaning(actions[option.name]).startswith(option.help)
            for option in options
        )
    ]
    listed = {"help", *(option.name for title in has for option in groups[title])}
    options = [
        (action.option_strings or [dest.upper()], _meaning(action))
        for dest, action in actions.items()
        if dest not in listed
    ]
    if command == "cogvlm.train":  # its parser knows the preset only; tyro reads the rest
        options.append((_fields(TrainConfig), "the [training settings](training_settings.md)"))
    return Command(groups=tuple(has), options=tuple(options))


def _parser(command: str) -> argparse.ArgumentParser:
    # Commands build their parsers where they need them; at the moment of parsing all are complete.
    def catch(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise _Caught(parser)

    with mock.patch.multiple(argparse.ArgumentParser, parse_args=catch, parse_known_args=catch):
        try:
            importlib.import_module(command).main([])
        except _Caught as caught:
            return caught.parser
    raise AssertionError(f"{command} parses no command line")


def _meaning(action: argparse.Action) -> str:
    meaning = (action.help or "").replace("%%", "%")
    if action.choices and not all(str(choice) in meaning for choice in action.choices):
        meaning = f"{meaning} ({', '.join(map(str, action.choices))})".strip()
    plain = isinstance(action.default, str | int | float) and not isinstance(action.default, bool)
    if plain and action.default != "" and "default" not in meaning:
        meaning = f"{meaning}; default: {action.default}".removeprefix("; ")
    return meaning


def _fields(part: Any, prefix: str = "") -> list[str]:
    """Return the option of every field, those of fields that are configs themselves included."""
    names = []
    for field in dataclasses.fields(part):
        nested = getattr(part(), field.name)
        if dataclasses.is_dataclass(nested):
            names += _fields(type(nested), f"{prefix}{field.name}.")
        else:
            names.append(f"--{prefix}{field.name}")
    return names
