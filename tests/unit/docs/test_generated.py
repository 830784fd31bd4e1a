"""Pages that are made from declarations say what the declarations say now."""

from __future__ import annotations

import pytest

from scripts.make_docs import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_is_fresh(name: str) -> None:
    assert DOCS.joinpath(name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"
