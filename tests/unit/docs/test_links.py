"""Every relative link of a page leads to a file that is there, and to a heading that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

from scripts.make_docs import anchor

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = _CODE.sub("", page.read_text("utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not heading or heading in _anchors(target)


def _anchors(page: Path) -> set[str]:
    text = _CODE.sub("", page.read_text("utf-8"))
    return {anchor(heading) for heading in re.findall(r"^#+ (.*?)\s*$", text, re.MULTILINE)}
