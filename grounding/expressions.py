"""Referring expressions: a noun chunk widened to the right, through what depends on its root.

"a dog" in "a dog in a field of flowers" becomes the whole. The rule is GRIT's, made precise:

- A root that has a conjunct, or is one, is not widened: "a man and a woman" would get one box.
- Else the expression runs from the start of the chunk as long as tokens depend on the root, with
  no gap. Punctuation at its end is cut. It is never shorter than its chunk.

Expressions inside others are kept here, as GRIT's published files do; `phrases.contained` tells
who writes training text which they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_CONJUNCT = frozenset({"conj", "cj", "cd"})
"""The label of most schemes, and the two of the German one."""


def expression_end(doc: Doc, start: int, end: int, root_index: int) -> int:
    """Return the token after the last one of the expression around a chunk of tokens."""
    root = doc[root_index]
    if root.dep_ in _CONJUNCT or not root.n_rights:
        return end
    if any(child.dep_ in _CONJUNCT for child in root.children):
        return end
    last = _run_end(doc, start, root)
    while last > end and (doc[last - 1].is_punct or doc[last - 1].is_space):
        last -= 1
    return max(last, end)


def _run_end(doc: Doc, start: int, root: Token) -> int:
    """Return where the run of tokens that depend on `root`, begun at `start`, is broken."""
    position, last = start, root.right_edge.i
    while position <= last and (position == root.i or root.is_ancestor(doc[position])):
        position += 1
    return position
