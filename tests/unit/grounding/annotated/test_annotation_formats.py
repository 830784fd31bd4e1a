"""Readers of published annotations, on files of the same form."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
from helpers.grounding import annotation_files
from hypothesis import given
from hypothesis import strategies as st

from grounding.annotated import flickr30k_entities, refcoco, visual_genome
from grounding.annotated.annotations import (
    Annotated,
    AnnotatedPhrase,
    Rejected,
    check,
    cleaned,
    joined,
    relative_box,
)
from grounding.samples import unparsed_phrase
from shards.grounded import BadGroundingError

BOTH = ((0.1, 0.1, 0.3, 0.9), (0.5, 0.1, 1.0, 1.0))


def texts(record: Annotated):
    return [
        (record.caption[each.start : each.end], each.boxes_xyxy, each.categories)
        for each in record.phrases
    ]


class TestFlickr30kEntities:
    def test_phrases_get_all_boxes_of_their_chain(self, tmp_path: Path):
        first, broken, third = flickr30k_entities.read(annotation_files.flickr(tmp_path), "test")
        assert first.caption == "Two tall men lift a heavy box in the air ."
        assert texts(first) == [
            ("Two tall men", BOTH, ("people",)),
            ("a heavy box", BOTH[1:], ("other",)),
            ("the air", (), ("notvisual",)),
        ]
        assert broken == Rejected("7", "markup_malformed", broken.detail)
        assert texts(third) == [
            ("Men", BOTH, ("people",)),
            ("a harbour", (), ("scene",)),
            ("their own box", BOTH, ("people",)),
        ]
        assert (third.source_row, third.width_px, third.height_px) == (2, 200, 100)

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("<xmax>60<", "<xmax>10<", "box_corners"),
            ("<xmax>60<", "<xmax>20<", "box_empty"),
            ("<xmax>200<", "<xmax>240<", "box_outside"),
        ],
    )
    def test_bad_boxes_reject_the_image(self, tmp_path: Path, old, new, reason):
        folder = annotation_files.flickr(tmp_path, annotation_files.XML.replace(old, new))
        assert [each.reason for each in flickr30k_entities.read(folder)] == [reason]

    def test_entities_of_xml_are_refused(self, tmp_path: Path):
        xml = '<!DOCTYPE x [<!ENTITY a "aa">]>' + annotation_files.XML
        with pytest.raises(ValueError, match=r"7\.xml: it defines XML entities"):
            list(flickr30k_entities.read(annotation_files.flickr(tmp_path, xml)))

    def test_what_is_missing_is_named(self, tmp_path: Path):
        with pytest.raises(ValueError, match="no folder Annotations"):
            list(flickr30k_entities.read(tmp_path))
        folder = annotation_files.flickr(tmp_path)
        with pytest.raises(ValueError, match=r"no list val\.txt"):
            list(flickr30k_entities.read(folder, "val"))
        with pytest.raises(ValueError, match=r"8\.xml"):
            list(flickr30k_entities.read(folder, image_ids=["8"]))


class TestRefCoco:
    def test_the_caption_is_the_expression(self, tmp_path: Path):
        found = list(refcoco.read(*annotation_files.refcoco(tmp_path), split="val"))
        box = ((0.1, 0.2, 0.4, 0.6),)
        assert [texts(each) for each in found] == [
            [("the cup on the left", box, ("thing",))],
            [("left cup", box, ("thing",))],
            [("tall lamp", ((0.5, 0.0, 1.0, 1.0),), ("thing",))],
        ]
        assert {each.image_id for each in found} == {"5"}

    def test_excluded_images(self, tmp_path: Path):
        found = list(refcoco.read(*annotation_files.refcoco(tmp_path), exclude=[5]))
        assert [getattr(each, "reason", "kept") for each in found] == ["excluded"] * 3 + ["kept"]

    def test_boxes_that_cannot_be(self, tmp_path: Path):
        boxes = {1: [10, 20, -30, 40], 2: [50, 0, 80, 100]}
        found = list(refcoco.read(*annotation_files.refcoco(tmp_path, boxes)))
        assert [each.reason for each in found] == ["box_corners", "box_outside", "box_missing"]

    def test_an_unknown_split_names_those_there(self, tmp_path: Path):
        with pytest.raises(ValueError, match="it has testA, val"):
            list(refcoco.read(*annotation_files.refcoco(tmp_path), split="train"))

    def test_text_of_python_2(self, tmp_path: Path):
        file = tmp_path / "old.p"
        file.write_bytes(b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xc3\\xa9'\np3\nsa.")
        assert refcoco.load_plain(file) == [{"sent": "café"}]


class _Attack:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps([_Attack()]),
        pickle.dumps([_Attack()], protocol=0),
        pickle.dumps({"refs": print}),
        b'cbuiltins\neval\n(S\'open("pwned", "w")\'\ntR.',
        b"(S'touch pwned'\nios\nsystem\n.",
        b"\x80\x02ccollections\nOrderedDict\n)R.",
        b"Pelsewhere\n.",
        b"}S'x'\nb.",
        pickle.dumps([1, 2, 3])[:-2],
        b"",
        b"not a pickle",
    ],
)
def test_a_pickle_of_anything_but_plain_containers_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    Path("refs.p").write_bytes(data)
    with pytest.raises(ValueError, match=r"refs\.p: refused") as error:
        refcoco.load_plain("refs.p")
    assert type(error.value) is ValueError
    assert not Path("pwned").exists()


class TestVisualGenome:
    def test_regions_share_captions(self, tmp_path: Path):
        found = list(visual_genome.read(*annotation_files.visual_genome(tmp_path)))
        assert [each.reason for each in found if isinstance(each, Rejected)] == [
            "box_outside",
            "phrase_empty",
            "image_missing",
        ]
        first, second = (each for each in found if isinstance(each, Annotated))
        assert first.caption == "a green door. the step & the rail. an old man."
        assert texts(first) == [
            ("a green door", ((0, 0, 0.5, 0.5),), ()),
            ("the step & the rail", ((0.1, 0.1, 1.0, 0.5),), ()),
            ("an old man", ((0, 0, 0.29, 0.3),), ()),
        ]
        assert second.caption == "snow"

    def test_regions_by_themselves_and_exclusions(self, tmp_path: Path):
        files = annotation_files.visual_genome(tmp_path)
        alone = list(visual_genome.read(*files, regions_per_sample=1))
        captions = [each.caption for each in alone if isinstance(each, Annotated)]
        assert captions == ["a green door", "the step & the rail", "an old man", "snow"]
        left = list(visual_genome.read(*files, exclude=[77]))
        assert [getattr(each, "reason", "kept") for each in left] == [
            "excluded",
            "kept",
            "image_missing",
        ]

    @given(st.lists(st.one_of(st.integers(), st.text(), st.lists(st.floats(-9, 9)))), st.data())
    def test_elements_of_an_array_in_any_blocks(self, values, data):
        import json

        indent = data.draw(st.sampled_from([None, 1]))
        text = json.dumps(values, indent=indent)
        block = data.draw(st.integers(1, 9))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(visual_genome, "_BLOCK_CHARS", block)
            assert list(visual_genome._elements(io.StringIO(text))) == values

    @pytest.mark.parametrize("text", ["", "{}", "[1, 2", '[{"a": 1}, {"b"'])
    def test_what_is_no_array_is_refused(self, tmp_path: Path, text):
        (tmp_path / "f.json").write_text(text)
        with pytest.raises(ValueError, match=r"f\.json: not a whole JSON array"):
            list(visual_genome.elements(tmp_path / "f.json"))


@pytest.mark.parametrize(
    ("phrases", "reason"),
    [
        ([(0, 5), (0, 5)], "duplicate_span"),
        ([(0, 99)], "span_outside"),
        ([(3, 3)], "span_outside"),
        ([], "no_phrases"),
    ],
)
def test_spans_are_checked(phrases, reason):
    made = tuple(AnnotatedPhrase(start, end, ()) for start, end in phrases)
    record = Annotated(
        image_id="1", caption="a dog", phrases=made, source="s", source_file="f", source_row=0
    )
    with pytest.raises(BadGroundingError) as error:
        check(record)
    assert error.value.reason == reason


def test_a_little_over_the_edge_is_cut():
    assert relative_box((-2, 0, 102, 50), 100, 50) == (0, 0, 1, 1)


@given(st.lists(st.text(max_size=12), max_size=5))
def test_joined_parts_lie_where_it_says(parts):
    caption, spans = joined(parts)
    assert [caption[start:end] for start, end in spans] == [cleaned(part) for part in parts]
    assert cleaned(caption) == caption


@pytest.mark.parametrize(
    ("phrase", "head"),
    [
        ("a small dog", "dog"),
        ("A group of tall men", "group"),
        ("the man wearing a hat", "man"),
        ("In", "in"),
        ("...", "..."),
        ("the x-ray machine", "machine"),
    ],
)
def test_heads_by_rule(phrase, head):
    found = unparsed_phrase(f"see {phrase}!", (4, 4 + len(phrase)))
    assert found.head_lemma == head
