"""Rules are found by their declarations, and listing them loads nothing slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


def package_of(folder: Path, name: str, **files: str) -> ModuleType:
    for stem, text in files.items():
        folder.joinpath(f"{stem}.py").write_text(text, encoding="utf-8")
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return package


def rule(name: str, class_name: str = "Rule", summary: str = 'summary = "A test."') -> str:
    return RULE.format(name=name, class_name=class_name, summary=summary)


def test_every_public_rule_class_is_found_in_the_order_of_the_files(tmp_path: Path) -> None:
    files = {
        "b": rule("x.last"),
        "a": rule("x.first") + rule("x.private", "_Base"),
        "c": "from filters.rules.url import UrlPort\n",
    }
    rules = find_rules(package_of(tmp_path, "rules_found", **files))
    assert list(rules) == ["x.first", "x.last"]
    assert by_family(rules) == {"x": tuple(rules.values())}


def test_a_rule_without_a_summary_is_named(tmp_path: Path) -> None:
    package = package_of(tmp_path, "rules_bare", mine=rule("x.bare", "Bare", "pass"))
    with pytest.raises(ValueError, match=r"rules_bare\.mine\.Bare lacks summary"):
        find_rules(package)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    package = package_of(tmp_path, "rules_twice", a=rule("x.same"), b=rule("x.same"))
    with pytest.raises(
        ValueError, match=r"rules_twice\.b and rules_twice\.a both have .*'x\.same'"
    ):
        find_rules(package)


def test_listing_the_rules_loads_nothing_slow() -> None:
    code = (
        "import sys, filters\n"
        "for rule in filters.describe():\n"
        "    print(rule.name, rule.summary, *rule.reasons, *rule.parameters)\n"
        "filters.build_chain('cogvlm', {'caption.words.minimum': '2'}).spec()\n"
        "slow = {'pyarrow', 'torch', 'apache_beam', 'shards', 'pipelines', 'pandas'}\n"
        "print('loaded', sorted(slow & {*sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    *rules, loaded = done.stdout.splitlines()
    assert loaded == "loaded []", done.stderr
    assert len(rules) == len(filters.FILTERS)
    assert any(line.startswith("caption.words The caption has 3 to 256 words.") for line in rules)
