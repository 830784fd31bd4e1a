"""GRIT files: what goes in comes out, and what cannot be used has a reason."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grounding.annotated import grit
from grounding.samples import unparsed_phrase
from shards.grounded import BoxRow, GroundedSample, Grounding
from shards.lint.grounded import grounded_breaches
from shards.sample import ImageSample

CAPTION = "a small dog on a red mat"
ROW = [0.0, 11.0, 0.1, 0.2, 0.5, 0.6, 0.75]


def common(caption: str, **others) -> ImageSample:
    values = dict.fromkeys(each for each in ImageSample.__dataclass_fields__)
    known = {
        "key": hashlib.md5(caption.encode()).hexdigest(),
        "caption": caption,
        "original_width": 640,
        "original_height": 480,
        "contract_version": 1,
    }
    return ImageSample(**{**values, **known, **others})


@st.composite
def grounded(draw):
    caption = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
    size = len(caption)
    share = st.floats(0, 1)

    def rows():
        found = []
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, size - 1))
            x0, x1 = sorted(draw(st.tuples(share, share).filter(lambda pair: pair[0] != pair[1])))
            y0, y1 = sorted(draw(st.tuples(share, share).filter(lambda pair: pair[0] != pair[1])))
            end = draw(st.integers(start + 1, size))
            found.append(BoxRow(start, end, x0, y0, x1, y1, draw(share)))
        return tuple(found)

    chunks = rows()
    phrases = tuple(unparsed_phrase(caption, span) for span in sorted({r.span for r in chunks}))
    return GroundedSample(common(caption), Grounding(chunks, rows(), phrases))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(grounded(), max_size=4))
def test_round_trip(tmp_path: Path, samples):
    file = tmp_path / "grit.parquet"
    assert grit.write(samples, file) == len(samples)
    found = list(grit.read(file))
    assert len(found) == len(samples)
    for sample, record in zip(samples, found, strict=True):
        assert isinstance(record, grit.GritRecord)
        assert (record.key, record.caption) == (sample.common.key, sample.common.caption)
        assert (record.width, record.height) == (640, 480)
        again = record.grounding()
        assert again.noun_chunks == sample.grounding.noun_chunks
        assert again.ref_exps == sample.grounding.ref_exps
        ours = [(each.start, each.end, each.head_lemma) for each in sample.grounding.phrases]
        assert [(each.start, each.end, each.head_lemma) for each in again.phrases] == ours


def test_same_samples_same_bytes(tmp_path: Path):
    sample = GroundedSample(common(CAPTION), Grounding((BoxRow(0, 11, 0, 0, 1, 1, 1),), (), ()))
    for name in ("one", "other"):
        grit.write([sample] * 3, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_scores_and_ids_go_where_the_source_says(tmp_path: Path):
    nothing = Grounding((), (), ())
    rows = [
        common(CAPTION, similarity=0.25, similarity_scorer="clip-vit-b-32", source="coyo700m",
               source_key="17"),
        common(CAPTION, similarity=0.25, similarity_scorer="clip-vit-l-14", source="other",
               source_key="17"),
        common(CAPTION, similarity=0.25, similarity_scorer="mclip-vit-b-32", source="coyo700m",
               source_key="x" * 3),
    ]  # fmt: skip
    grit.write([GroundedSample(row, nothing) for row in rows], tmp_path / "f")
    found = [
        (row.clip_similarity_vitb32, row.clip_similarity_vitl14, row.id)
        for row in grit.read(tmp_path / "f")
    ]
    assert found == [(0.25, None, 17), (None, 0.25, None), (None, None, None)]


def published(tmp_path: Path, rows) -> Path:
    """A file with the columns of the sample that was published: no key."""
    schema = pa.schema([each for each in grit.SCHEMA if each.name != "key"])
    file = tmp_path / "published.parquet"
    filled = [{**dict.fromkeys(schema.names), "ref_exps": [], **row} for row in rows]
    pq.write_table(pa.Table.from_pylist(filled, schema), file)
    return file


def test_a_file_without_keys_and_with_float_offsets(tmp_path: Path):
    rows = [{"caption": CAPTION, "noun_chunks": [ROW], "ref_exps": [[0.0, 24.0, *ROW[2:]]]}]
    (record,) = grit.read(published(tmp_path, rows))
    assert record.key is None and record.noun_chunks == ((0, 11, 0.1, 0.2, 0.5, 0.6, 0.75),)
    assert isinstance(record.noun_chunks[0].start, int)
    (phrase,) = record.grounding().phrases
    assert (phrase.head_lemma, phrase.expr_start, phrase.expr_end) == ("dog", 0, 24)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"caption": None, "noun_chunks": []}, "caption_missing"),
        ({"caption": "", "noun_chunks": []}, "caption_missing"),
        ({"caption": CAPTION, "noun_chunks": None}, "rows_malformed"),
        ({"caption": CAPTION, "noun_chunks": [ROW[:6]]}, "rows_malformed"),
        ({"caption": CAPTION, "noun_chunks": [[0.5, *ROW[1:]]]}, "rows_malformed"),
        ({"caption": CAPTION, "noun_chunks": [[*ROW[:6], float("nan")]]}, "rows_malformed"),
        ({"caption": CAPTION, "noun_chunks": [[0, 25, *ROW[2:]]]}, "span_outside"),
        ({"caption": CAPTION, "noun_chunks": [[5, 5, *ROW[2:]]]}, "span_outside"),
        ({"caption": CAPTION, "noun_chunks": [[0, 11, 0.1, 0.2, 1.5, 0.6, 1]]}, "box_outside"),
        ({"caption": CAPTION, "noun_chunks": [[0, 11, 0.5, 0.2, 0.1, 0.6, 1]]}, "box_corners"),
    ],
)
def test_a_row_that_cannot_be_used_has_a_reason(tmp_path: Path, row, reason):
    good = {"caption": CAPTION, "noun_chunks": [ROW]}
    found = list(grit.read(published(tmp_path, [good, row, good])))
    assert [getattr(each, "reason", None) for each in found] == [None, reason, None]
    assert found[1].row == 1


def test_other_files_are_refused(tmp_path: Path):
    pq.write_table(pa.table({"caption": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="noun_chunks"):
        list(grit.read(tmp_path / "other.parquet"))
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(ValueError, match="not a readable parquet"):
        list(grit.read(tmp_path / "text"))


def test_a_set_keeps_its_order_by_way_of_a_file(tmp_path: Path):
    """What lint demands of rows and phrases still holds for a set that was read back."""
    box, other = (0.1, 0.2, 0.5, 0.6), (0.5, 0.5, 1.0, 1.0)
    grounding = Grounding(
        noun_chunks=(BoxRow(15, 24, *other, 0.9), BoxRow(0, 11, *box, 0.75)),
        ref_exps=(BoxRow(15, 24, *other, 0.9), BoxRow(0, 24, *box, 0.75)),
        phrases=(
            unparsed_phrase(CAPTION, (0, 11), (0, 24)),
            unparsed_phrase(CAPTION, (15, 24), (15, 24)),
        ),
    )
    assert [*grounded_breaches(json.loads(json.dumps(grounding.to_json())), CAPTION)] == []
    grit.write([GroundedSample(common(CAPTION), grounding)], tmp_path / "file")
    (record,) = grit.read(tmp_path / "file")
    assert record.grounding() == grounding
