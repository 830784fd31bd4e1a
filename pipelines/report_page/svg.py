"""SVG as text that is safe to put into a page: every attribute and every text is escaped here."""

from __future__ import annotations

from html import escape


class Svg(str):
    """Markup that `element` made; a template must not escape it again."""

    __slots__ = ()

    def __html__(self) -> str:
        """Tell jinja2 that this is markup already."""
        return str(self)


def element(name: str, *children: str, **attributes: str | float) -> Svg:
    """Return an element.

    Args:
        name: Of the element.
        children: Elements, or texts to be escaped.
        attributes: `_` in a name stands for `-`; one at the end keeps a name clear of Python's
            own words (`class_`).
    """
    inner = "".join(child if isinstance(child, Svg) else escape(child) for child in children)
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(f' {key}="{_value(value)}"' for key, value in names.items())
    return Svg(f"<{name}{written}>{inner}</{name}>")


def rect(x: float, y: float, width: float, height: float, class_: str, title: str = "") -> Svg:
    """Return a rectangle; its title is what a pointer over it shows."""
    inner = [element("title", title)] if title else []
    return element("rect", *inner, x=x, y=y, width=width, height=height, class_=class_)


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Svg:
    """Return a line of text."""
    return element("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def figure(width: float, height: float, label: str, *children: str) -> Svg:
    """Return a picture that shrinks with the page; the label is for those who cannot see it."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_="figure",
    )


def _value(value: str | float) -> str:
    # Five digits are a hundredth of a pixel, and the same on every machine.
    return escape(value) if isinstance(value, str) else f"{value:.5g}"
