"""Pages as a browser would take them: elements, attributes and texts, with balance checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset({"meta", "img", "br"})
_APART = frozenset({"td", "th", "p", "li", "br", "h1", "h2", "h3", "h4", "text", "title"})


@dataclass
class Page:
    """What a page is made of."""

    tags: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # tag, name, value
    text: str = ""

    def values(self, tag: str, name: str) -> list[str]:
        """Return the values of an attribute, in the order of the page."""
        return [value for at, key, value in self.attributes if (at, key) == (tag, name)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.add(tag)
        self.page.attributes += [(tag, name, value or "") for name, value in attrs]
        self.page.text += " " if tag in _APART else ""
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.page.text += data


def read(html: str) -> Page:
    """Parse a page; every element must be closed, in order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [], reader.open
    return reader.page


def check_harmless(page: Page) -> None:
    """See that nothing in a page runs, loads or leads anywhere but to the web by a click."""
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "form", "base"}
    policies = [value for value in page.values("meta", "content") if "default-src" in value]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        if name == "src":
            assert tag == "img" and value.startswith("data:image/jpeg;base64,")
        if name in ("href", "xlink:href", "action", "style", "srcset"):
            assert (tag, name) == ("a", "href") and value.lower().startswith(("http:", "https:"))
    links = page.values("a", "href")
    assert page.values("a", "rel") == ["noopener noreferrer nofollow"] * len(links)
