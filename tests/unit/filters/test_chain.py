"""Chains: who owns a row, what is counted, and what the two funnel modes know."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from helpers.filters.filter_rows import batch_of, row

import filters
from filters import ChainCounts

ROWS = [
    row(),
    row(url="ftp://example.org/a.jpg", nsfw_score=0.9, caption="x"),
    row(nsfw_score=0.9, nsfw_tag="NSFW"),
    row(width=700, height=100),
    row(width=None, caption="two words"),
    row(width=None),
    row(url=None, caption=None, invalid_text=True, nsfw_score=0.9),
    row(nsfw_score=None, nsfw_tag=None),
    row(caption="Trump meets Putin"),
]
OWNERS = [
    None,
    "url_scheme",
    "nsfw",
    "aspect_ratio",
    "caption_too_few_words",
    None,
    "invalid_text",
    "nsfw_missing",
    "political",
]


def names(indices: np.ndarray, chain: filters.Chain) -> list[str | None]:
    return [None if i < 0 else chain.reasons[i] for i in indices.tolist()]


@pytest.mark.parametrize("mode", ["full", "first"])
def test_owner_keep_and_safety(mode: filters.Mode) -> None:
    chain = filters.build_chain("cogvlm")
    result = filters.apply_chain(batch_of(ROWS), chain, mode)
    assert names(result.owner, chain) == OWNERS
    assert result.keep.tolist() == [owner is None for owner in OWNERS]
    safety = [None, "nsfw", "nsfw", None, None, None, "nsfw", None, None]
    assert names(result.safety_owner, chain) == safety
    assert result.owner.dtype == result.safety_owner.dtype == np.int16
    waiting = [[], [], [], [], [], ["aspect.ratio"], [], [], []]
    assert result.deferred_lists().to_pylist() == waiting


def test_full_mode_lists_every_reason() -> None:
    chain = filters.build_chain("cogvlm")
    full = filters.apply_chain(batch_of(ROWS), chain, "full").reason_lists().to_pylist()
    assert full[1] == ["url_scheme", "nsfw", "caption_too_short", "caption_too_few_words"]
    assert full[2] == ["nsfw", "nsfw_tag"]
    assert full[0] == full[5] == []
    assert full[6] == ["invalid_text", "url_missing", "nsfw", "caption_missing"]


def test_first_mode_lists_the_owner_and_safety() -> None:
    chain = filters.build_chain("cogvlm")
    first = filters.apply_chain(batch_of(ROWS), chain, "first").reason_lists().to_pylist()
    assert first[1][0] == "url_scheme"
    assert "nsfw" in first[1]
    assert first[4] == ["caption_too_few_words"]


def test_counts_of_full_mode() -> None:
    counts = filters.apply_chain(batch_of(ROWS), filters.build_chain("cogvlm"), "full").counts
    assert (counts.rows, counts.kept) == (9, 2)
    assert {k: n for k, n in counts.owned.items() if n} == {o: 1 for o in OWNERS if o}
    assert counts.safety == {"nsfw": 3, "nsfw_tag": 0}
    assert counts.deferred["aspect.ratio"] == 1
    assert counts.alone is not None
    alone = {k for k, n in counts.alone.items() if n}
    assert alone == {"nsfw.present", "aspect.ratio", "caption.words", "political.lexicon"}
    chain = [f.name for f in filters.build_chain("cogvlm").filters]
    assert counts.overlap is not None
    score, tag = chain.index("nsfw.score"), chain.index("nsfw.tag")
    assert counts.overlap[score][score] == 3
    assert counts.overlap[score][tag] == counts.overlap[tag][score] == 1


def test_first_mode_does_not_claim_what_it_does_not_know() -> None:
    counts = filters.apply_chain(batch_of(ROWS), filters.build_chain("cogvlm"), "first").counts
    assert counts.alone is None
    assert counts.overlap is None


@pytest.mark.parametrize("mode", ["full", "first"])
def test_counts_add_and_survive_json(mode: filters.Mode) -> None:
    chain = filters.build_chain("cogvlm")
    whole = filters.apply_chain(batch_of(ROWS), chain, mode).counts
    parts = [
        filters.apply_chain(batch_of(ROWS[i : i + 2]), chain, mode).counts for i in range(0, 9, 2)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total == whole
    assert ChainCounts.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_counts_of_different_chains_do_not_add() -> None:
    batch = batch_of(ROWS)
    one = filters.apply_chain(batch, filters.build_chain("cogvlm"), "full").counts
    for other in (
        filters.apply_chain(batch, filters.build_chain("none"), "full").counts,
        filters.apply_chain(batch, filters.build_chain("cogvlm"), "first").counts,
    ):
        with pytest.raises(ValueError, match="cannot be added"):
            _ = one + other


@pytest.mark.parametrize("mode", ["full", "first"])
def test_no_rows_and_no_filters(mode: filters.Mode) -> None:
    chain = filters.build_chain("cogvlm")
    empty = filters.apply_chain(batch_of([]), chain, mode)
    assert empty.counts.rows == empty.counts.kept == len(empty.owner) == 0
    assert empty.reason_lists().to_pylist() == empty.deferred_lists().to_pylist() == []
    free = filters.apply_chain(batch_of(ROWS), filters.Chain([]), mode)
    assert free.keep.tolist() == [True] * 9


def test_what_a_user_can_get_wrong() -> None:
    chain = filters.build_chain("cogvlm")
    with pytest.raises(ValueError, match="width, height"):
        filters.apply_chain(batch_of(ROWS).drop_columns(["width", "height"]), chain)
    with pytest.raises(ValueError, match="full or first"):
        filters.apply_chain(batch_of(ROWS), chain, "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'text\.valid' is in the chain twice"):
        filters.Chain([chain.filters[0], chain.filters[0]])


def test_apply_takes_tables_of_any_shape() -> None:
    table = pa.Table.from_batches([batch_of(ROWS[:4]), batch_of(ROWS[4:])])
    expected = [owner is None for owner in OWNERS]
    assert filters.apply(table).keep.tolist() == expected
    assert filters.apply(batch_of(ROWS), mode="first").keep.tolist() == expected
    assert filters.apply(table.slice(0, 0)).keep.tolist() == []
    large = table.set_column(1, "caption", table.column("caption").cast(pa.large_string()))
    assert filters.apply(large, "cogvlm").keep.tolist() == expected
    bare = table.slice(0, 1).select(["url", "caption"])
    assert filters.apply(bare, "none").keep.tolist() == [True]
    with pytest.raises(ValueError, match="nsfw_score"):
        filters.apply(bare)


def test_decoded_facts_decide_what_was_deferred() -> None:
    chain = filters.build_chain("cogvlm", {"nsfw.present.on_missing": "defer"})
    assert chain.undecidable() == ("nsfw.present",)
    assert filters.build_chain("cogvlm").undecidable() == ()
    again = chain.decoded()
    sizes = pa.RecordBatch.from_pydict({"width": [700, 600], "height": [100, 100]})
    result = filters.apply_chain(sizes, again)
    assert result.reason_lists().to_pylist() == [["aspect_ratio"], []]


def test_a_chain_travels_to_workers() -> None:
    chain = filters.build_chain("cogvlm", {"caption.words.minimum": "2"})
    batch = batch_of(ROWS)
    expected = filters.apply_chain(batch, chain).counts
    copied = pickle.loads(pickle.dumps(chain))
    assert copied.spec() == chain.spec()
    assert filters.apply_chain(batch, copied).counts == expected
