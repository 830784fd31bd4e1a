"""The example on a page of `docs/extending`, so that a test can run what the page shows."""

from __future__ import annotations

from helpers.paths import ROOT

_MOST_LINES = 15


def example(page: str) -> str:
    """Return the Python example of a page, such as `filter`; the page must stay short."""
    text = ROOT.joinpath("docs", "extending", f"{page}.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= _MOST_LINES, f"docs/extending/{page}.md is too long"
    _, example_and_rest = text.split("```python\n")
    return example_and_rest.split("```")[0]
