"""Rules are found by their declarations, and listing them loads nothing slow."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.packages import make_package

import filters
from filters.registry import by_family, find_rules

ROOT = Path(filters.__file__).parents[1]

RULE = """
import dataclasses
from filters.base import Filter

@dataclasses.dataclass(frozen=True, kw_only=True)
class {class_name}(Filter):
    name = "{name}"
    columns = ("caption",)
    reasons = ("{name}",)
    {summary}

    def verdicts(self, batch):
        raise NotImplementedError
"""


def rule(name: str, class_name: str = "Rule", summary: str = 'summary = "A test."') -> str:
    return RULE.format(name=name, class_name=class_name, summary=summary)


def test_every_public_rule_class_is_found_in_the_order_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "b": rule("x.last"),
        "a": rule("x.first") + rule("x.private", "_Base"),
        "c": "from filters.rules.url import UrlPort\n",
    }
    rules = find_rules(make_package(monkeypatch, tmp_path, "made_rules", files))
    assert list(rules) == ["x.first", "x.last"]
    assert by_family(rules) == {"x": tuple(rules.values())}


def test_a_rule_without_a_summary_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(
        monkeypatch, tmp_path, "made_rules", {"a": rule("x.bare", "Bare", "pass")}
    )
    with pytest.raises(ValueError, match=r"made_rules\.a\.Bare lacks summary"):
        find_rules(package)


def test_parameters_without_the_decorator_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decorated = rule("x.bare", "Bare", "summary = 'S.'\n    limit: int = 3")
    files = {"a": decorated.replace("@dataclasses", "# @dataclasses")}
    package = make_package(monkeypatch, tmp_path, "made_rules", files)
    with pytest.raises(ValueError, match=r"made_rules\.a\.Bare has parameters and is not a datacl"):
        find_rules(package)


def test_two_rules_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(
        monkeypatch, tmp_path, "made_rules", {"a": rule("x.same"), "b": rule("x.same")}
    )
    with pytest.raises(ValueError, match=r"made_rules\.b and made_rules\.a both have .*'x\.same'"):
        find_rules(package)


def test_every_rule_is_described() -> None:
    summaries = {rule.name: rule.summary for rule in filters.describe()}
    assert list(summaries) == list(filters.FILTERS)
    assert summaries["caption.words"] == "The caption has 3 to 256 words."
