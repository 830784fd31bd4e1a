r"""The regex dialect: no `\b \w \s \d` in any pattern."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pyarrow as pa
import pytest

import filters
from filters.regex import bounded, escaped, matching

PACKAGE = Path(filters.__file__).parent
SHORT_FORM = re.compile(r"(?<!\\)(?:\\\\)*\\[bBwWsSdD]")


def strings_in_code(source: str) -> list[str]:
    """Return every string constant that is not a docstring."""
    tree = ast.parse(source)
    bare = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_patterns_spell_their_classes_out(path: Path) -> None:
    bad = [text for text in strings_in_code(path.read_text("utf-8")) if SHORT_FORM.search(text)]
    assert bad == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (r'x = r"\bcat\b"', True),
        (r'x = f"{y}\\d+"', True),
        (r'x = r"\\w"', False),
        (r'x = r"[\pL\pN]"', False),
        ('"""A docstring may name \\\\b."""', False),
    ],
)
def test_the_lint_can_fail(source: str, found: bool) -> None:
    assert any(SHORT_FORM.search(text) for text in strings_in_code(source)) is found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", True),
        ("a cat, black", True),
        ("CAT", True),
        ("cats", False),
        ("écat", False),
        ("中cat国", False),
        ("cat\u0301", False),
        ("cat_1", False),
        ("(cat)", True),
    ],
)
def test_bounded(text: str, expected: bool) -> None:
    assert matching(pa.array([text]), bounded("cat"), ignore_case=True).tolist() == [expected]


def test_escaped_matches_itself() -> None:
    special = r"a.b+c*d?e(f)g|h[i]j{k}l^m$n\o-p&q#r~é漢"
    column = pa.array([special, "axb"])
    assert matching(column, f"^{escaped(special)}$").tolist() == [True, False]
