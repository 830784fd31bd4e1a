"""Referring expressions: a noun chunk widened to the right, through what depends on its root.

"a dog" in "a dog in a field of flowers" becomes the whole. The rule is GRIT's, made precise:

- A root that has a conjunct, or is one, is not widened: "a man and a woman" would get one box.
- Else the expression runs from the start of the chunk as long as tokens depend on the root, with
  no gap. Punctuation at its end is cut. It is never shorter than its chunk.

Expressions inside others are kept here, as GRIT's published files do; `phrases.contained` tells
who writes training text which they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc

_CONJUNCT = frozenset({"conj", "cj", "cd"})
"""The label of most schemes, and the two of the German one."""


def expression_end(doc: Doc, heads: Sequence[int], start: int, end: int, root: int) -> int:
    """Return the token after the last one of the expression around a chunk.

    Args:
        doc: The parsed caption.
        heads: Index of every token's head.
        start: First token of the chunk.
        end: Token after its last.
        root: Root of the chunk.
    """
    token = doc[root]
    if token.dep_ in _CONJUNCT or not token.n_rights:
        return end
    if any(child.dep_ in _CONJUNCT for child in token.children):
        return end
    last = _run_end(heads, start, root, token.right_edge.i)
    while last > end and (doc[last - 1].is_punct or doc[last - 1].is_space):
        last -= 1
    return max(last, end)


def _run_end(heads: Sequence[int], start: int, root: int, right_edge: int) -> int:
    """Return where the run of tokens that depend on `root`, begun at `start`, is broken.

    Every token is climbed from once. Asking spaCy for ancestors is cubic in words that nest:
    minutes for 5,000 of them.
    """
    inside = {root}
    for position in range(start, right_edge + 1):
        at, path = position, []
        while at not in inside and heads[at] != at:
            path.append(at)
            at = heads[at]
        if at not in inside:
            return position
        inside.update(path)
    return right_edge + 1
