"""Declarations are found in the files of a folder; what is wrong names the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.packages import make_package

from shards.declarations import declared

IMPORT = f"from {__name__} import Thing\n"


@dataclass(frozen=True)
class Thing:
    name: str


def test_files_are_read_in_the_order_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "b": IMPORT + "THINGS = (Thing('last'),)",
        "a": IMPORT + "THINGS = (Thing('first'), Thing('second'))",
        "helper": "NOTHING = 1",
    }
    things = declared(make_package(monkeypatch, tmp_path, "things", files), "THINGS", Thing)
    assert things == {name: Thing(name) for name in ("first", "second", "last")}
    assert list(things) == ["first", "second", "last"]


def test_two_declarations_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = IMPORT + "THINGS = (Thing('same'),)"
    package = make_package(monkeypatch, tmp_path, "things", {"a": text, "b": text})
    with pytest.raises(ValueError, match=r"things\.b and things\.a both declare 'same'"):
        declared(package, "THINGS", Thing)


@pytest.mark.parametrize("value", ["(Thing('no comma'))", "('text',)", "[Thing('a list')]"])
def test_what_is_not_a_tuple_of_declarations_is_named(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_package(monkeypatch, tmp_path, "things", {"odd": f"{IMPORT}THINGS = {value}"})
    with pytest.raises(ValueError, match=r"things\.odd: THINGS must be a tuple of Thing"):
        declared(package, "THINGS", Thing)
