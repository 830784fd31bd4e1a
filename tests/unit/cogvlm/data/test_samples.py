"""Stored samples to sequences: boxes stay true to the pixels, faults are named, rows are packed."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cogvlm.toy_tokenizer import write
from helpers.shards.pictures import encoded, photo
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvlm.data.augment import MIN_LEFT, Augment
from cogvlm.data.pixels import normalisation, normalise, preprocess, square
from cogvlm.data.sequences import SampleMaker, packed, stacked
from cogvlm.data.tasks import Skip, SkipReason
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.config import ModelConfig, resized
from cogvlm.model.layout import IGNORE, Sample
from cogvlm.model.variants.small import debug
from shards import boxtext
from shards.access import RawSample, SampleError
from shards.image import decode

SIDE = 224
MODEL = resized(debug(), SIDE)
STRONG = Augment(crop_min_share=0.1, flip=0.5, scale_min=0.7)
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write(tmp_path_factory.mktemp("tokenizer")))


def stored(
    caption: str = "a cat", fields: Any = None, *images: bytes, key: str = "k", text: bytes = b""
) -> RawSample:
    content = text or json.dumps({} if fields is None else fields).encode()
    kinds = ("png",) if len(images) == 1 else tuple(f"{at}.png" for at in range(len(images)))
    return RawSample(key, images, kinds, caption.encode(), content, "set", "000000")


def made(
    tokenizer: Tokenizer,
    raw: RawSample,
    task: str = "caption",
    *,
    augment: Augment | None = None,
    seed: int = 0,
    epoch: int = 0,
    model: ModelConfig = MODEL,
) -> Sample:
    maker = SampleMaker(tokenizer, "base", augment or Augment(), seed)
    return maker.make(raw, task, epoch, model)


def answer(tokenizer: Tokenizer, sample: Sample) -> str:
    return tokenizer.decode([label for label in sample.labels if label != IGNORE])


def coordinates(size: int = 200) -> bytes:
    """An image whose pixels say where they are: red is x, green is y."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    return encoded(np.stack([x, y, np.full_like(x, 77)], -1).astype(np.uint8), "PNG")


def window(image: torch.Tensor, size: int = 200) -> tuple[list[float], bool]:
    """Return the part of `coordinates` that an image is, xyxy in 0..1, and whether mirrored."""
    pixels = image.double()
    row, column = pixels[0, SIDE // 2], pixels[1, :, SIDE // 2]
    is_mirrored = bool(row[0] > row[-1])
    row = row.flip(0) if is_mirrored else row
    return [each / size for each in (row[0], column[0], row[-1] + 1, column[-1] + 1)], is_mirrored


def seen(box: list[float], part: list[float], is_mirrored: bool) -> tuple[list[float], float]:
    """Return a box relative to a part of the image, and how much of it is there."""
    x0, y0, x1, y1 = np.clip(box, np.tile(part[:2], 2), np.tile(part[2:], 2))
    left = (x1 - x0) * (y1 - y0) / ((box[2] - box[0]) * (box[3] - box[1]))
    width, height = part[2] - part[0], part[3] - part[1]
    inside = [(x0 - part[0]) / width, (y0 - part[1]) / height]
    inside += [(x1 - part[0]) / width, (y1 - part[1]) / height]
    if is_mirrored:
        inside[0], inside[2] = 1 - inside[2], 1 - inside[0]
    return inside, float(left)


def test_an_image_and_its_caption(tokenizer: Tokenizer) -> None:
    pixels = photo(96, 64)
    sample = made(tokenizer, stored("the cat", None, encoded(pixels, "PNG")))
    target = [*tokenizer.encode("the cat"), MODEL.eos_id]
    start = 1 + MODEL.span_size
    assert sample.ids == [MODEL.bos_id, *[MODEL.pad_id] * MODEL.span_size, *target]
    assert sample.labels == [IGNORE] * start + target
    assert sample.spans == [(1, start)]
    assert sample.images[0].dtype == torch.uint8
    assert sample.images[0].equal(square(pixels, SIDE))


def test_a_caption_that_names_a_special_token_is_text(tokenizer: Tokenizer) -> None:
    sample = made(tokenizer, stored("a </s> b", None, encoded(photo(), "PNG")))
    assert sample.labels.count(MODEL.eos_id) == 1
    assert answer(tokenizer, sample) == "a </s> b"


def test_the_image_side_is_that_of_the_model(tokenizer: Tokenizer) -> None:
    raw = stored("a cat", None, encoded(photo(), "PNG"))
    sample = made(tokenizer, raw, model=debug())
    assert sample.images[0].shape == (3, 56, 56)
    assert sample.spans == [(1, 1 + debug().span_size)]


@settings(max_examples=40)
@given(epoch=st.integers(0, 10**6))
def test_a_painted_rectangle_stays_in_its_box(tokenizer: Tokenizer, epoch: int) -> None:
    pixels = np.full((150, 200, 3), 20, np.uint8)
    pixels[30:90, 40:120] = (250, 20, 20)
    box = [40 / 200, 30 / 150, 120 / 200, 90 / 150]
    fields = {"noun_chunks": [[0, 5, *box, 0.9]]}
    raw = stored("a cat", fields, encoded(pixels, "PNG"))
    # Not `rec`: in some crops the rectangle is all there is, and nobody asks where that is.
    sample = made(tokenizer, raw, "grounded_caption", augment=STRONG, epoch=epoch)
    (found,) = boxtext.decode(answer(tokenizer, sample).removeprefix("a cat "))
    rows, columns = np.nonzero(sample.images[0][0].numpy() > 135)
    painted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(np.array(found) * SIDE - painted).max() <= 3


@settings(max_examples=60)
@given(epoch=st.integers(0, 10**6))
def test_a_phrase_of_which_less_than_half_is_left_is_dropped(
    tokenizer: Tokenizer, epoch: int
) -> None:
    boxes = {
        "one": [0.05, 0.1, 0.35, 0.3],
        "two": [0.6, 0.1, 0.9, 0.4],
        "six": [0.2, 0.7, 0.8, 1.0],
    }
    rows = [[5 * at, 5 * at + 3, *box, 0.9] for at, box in enumerate(boxes.values())]
    raw = stored("one, two, six.", {"noun_chunks": rows, "ref_exps": rows[:1]}, coordinates())
    sample = made(tokenizer, raw, "grounded_caption", augment=STRONG, epoch=epoch)
    text, where = answer(tokenizer, sample), window(sample.images[0])
    kept = 0
    for name, box in boxes.items():
        expected, left = seen(box, *where)
        if f"{name} [[" not in text:
            assert left < MIN_LEFT + 0.05
            continue
        kept += 1
        assert left > MIN_LEFT - 0.05
        (found,) = boxtext.decode(text.partition(f"{name} ")[2].partition("]]")[0] + "]]")
        assert np.abs(np.subtract(found, expected)).max() < 0.04
    assert kept
    assert text.count("[[") == kept


def test_phrases_are_dropped_and_kept_but_never_all_dropped(tokenizer: Tokenizer) -> None:
    rows = [[0, 3, 0.0, 0.0, 0.2, 0.2, 0.9], [5, 8, 0.8, 0.8, 1.0, 1.0, 0.9]]
    raw = stored("one, two", {"noun_chunks": rows}, coordinates())
    texts = [
        answer(tokenizer, made(tokenizer, raw, "grounded_caption", augment=STRONG, epoch=epoch))
        for epoch in range(60)
    ]
    assert {text.count("[[") for text in texts} == {1, 2}


@settings(max_examples=60)
@given(epoch=st.integers(0, 10**6))
def test_no_box_of_a_conversation_is_lost(tokenizer: Tokenizer, epoch: int) -> None:
    boxes = [[0.0, 0.0, 0.2, 0.2], [0.8, 0.8, 1.0, 1.0]]
    said = [
        {"role": "user", "content": "what is at <boxes>?", "boxes": [boxes[:1]]},
        {"role": "assistant", "content": "a cat; a dog is at <boxes>", "boxes": [boxes]},
    ]
    fields = {"conversations": said, "noun_chunks": [[0, 5, 0.4, 0.4, 0.6, 0.6, 0.9]]}
    raw = stored("a cat", fields, coordinates())
    sample = made(tokenizer, raw, "dialogue", augment=STRONG, epoch=epoch)
    text, where = answer(tokenizer, sample), window(sample.images[0])
    found = boxtext.decode(text.partition(" at ")[2])
    question = tokenizer.decode([each for each in sample.ids if each != MODEL.pad_id])
    assert boxtext.encode(found[:1]) in question
    for box, each in zip(boxes, found, strict=True):
        expected, left = seen(box, *where)
        assert left > MIN_LEFT - 0.05
        assert np.abs(np.subtract(each, expected)).max() < 0.04


def test_images_among_which_boxes_cannot_be_told_apart_stay_as_they_are(
    tokenizer: Tokenizer,
) -> None:
    said = [
        {"role": "user", "content": "where?"},
        {"role": "assistant", "content": "<boxes>", "boxes": [[[0.1, 0.1, 0.3, 0.3]]]},
    ]
    two = (coordinates(), encoded(photo(), "PNG"))
    raw = stored("a cat", {"conversations": said}, *two)
    strong = replace(STRONG, flip=1.0)
    plain = made(tokenizer, raw, "dialogue", model=debug())
    changed = made(tokenizer, raw, "dialogue", augment=strong, model=debug())
    assert all(map(torch.equal, plain.images, changed.images))
    without = stored("a cat", {"conversations": [said[0], {**said[0], "role": "assistant"}]}, *two)
    changed = made(tokenizer, without, "dialogue", augment=strong, model=debug())
    assert not any(map(torch.equal, plain.images, changed.images))


@pytest.mark.parametrize(
    ("task", "fields", "is_mirrored"),
    [
        ("document", {"items": [{"image": 0}, {"text": "a cat"}]}, True),
        ("document", {"items": [{"image": 0}, {"text": "the cat on the left"}]}, False),
        ("dialogue", ["what is on the left?", "a cat"], False),
        ("dialogue", ["what is there?", "a cat"], True),
    ],
)
def test_what_is_said_of_sides_stays_true(
    tokenizer: Tokenizer, task: str, fields: Any, is_mirrored: bool
) -> None:
    if task == "dialogue":
        said = zip(("user", "assistant"), fields, strict=True)
        fields = {"conversations": [{"role": role, "content": text} for role, text in said]}
    raw = stored("a cat", fields, coordinates())
    sample = made(tokenizer, raw, task, augment=Augment(flip=1.0))
    assert window(sample.images[0])[1] == is_mirrored


def test_augmentation_is_that_of_seed_epoch_and_key(tokenizer: Tokenizer) -> None:
    def image(key: str = "k", **more: int) -> torch.Tensor:
        raw = stored("a cat", None, encoded(photo(), "PNG"), key=key)
        return made(tokenizer, raw, augment=STRONG, **more).images[0]

    assert image().equal(image())
    assert not any(image().equal(each) for each in (image(seed=1), image(epoch=1), image("other")))


@pytest.mark.parametrize("augment", [Augment(), STRONG])
@pytest.mark.parametrize(
    ("raw", "task", "reason", "detail"),
    [
        (stored("a cat", None, b"no image"), "caption", "image_damaged", "not_an_image"),
        (
            stored("a cat", None, encoded(photo(), "JPEG")[:600]),
            "caption",
            "image_damaged",
            "",
        ),
        (
            stored("a " * 400, None, encoded(photo(), "PNG")),
            "caption",
            "does_not_fit",
            "the model's context is 512",
        ),
        (
            stored("x", {"items": [{"text": "a"}, {"text": "b \ud800"}]}),
            "document",
            "json_damaged",
            "surrogates not allowed",
        ),
        (
            stored("x", {"conversations": 7}, encoded(photo(), "PNG")),
            "dialogue",
            "bad_conversation",
            "not a list of objects",
        ),
        (
            stored("x", {"noun_chunks": [[0, 1, 0, 0, 1]]}, encoded(photo(), "PNG")),
            "rec",
            "bad_boxes",
            "seven finite numbers",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    tokenizer: Tokenizer,
    raw: RawSample,
    task: str,
    reason: SkipReason,
    detail: str,
    augment: Augment,
) -> None:
    with pytest.raises(Skip) as caught:
        made(tokenizer, raw, task, augment=augment)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b"null"])
def test_json_that_is_no_object(tokenizer: Tokenizer, text: bytes) -> None:
    with pytest.raises(SampleError) as caught:
        made(tokenizer, stored("a cat", None, encoded(photo(), "PNG"), text=text))
    assert (caught.value.reason, caught.value.key) == ("json_damaged", "k")


def test_a_later_question_may_begin_with_an_image(tokenizer: Tokenizer) -> None:
    said = [
        {"role": role, "content": text}
        for role, text in zip(
            ("user", "assistant") * 2, ("<image>a", "b", "<image>", "d"), strict=True
        )
    ]
    two = [encoded(photo(), "PNG")] * 2
    sample = made(tokenizer, stored("x", {"conversations": said}, *two), "dialogue", model=debug())
    assert len(sample.spans) == 2  # a line break is before the second
    assert answer(tokenizer, sample) == "bd"


def test_a_mistake_in_a_program_is_not_a_skip(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr("cogvlm.data.tasks.make", broken)
    with pytest.raises(ValueError, match="a mistake"):
        made(tokenizer, stored("a cat", None, encoded(photo(), "PNG")))


def of_length(length: int, number: int = 0) -> Sample:
    return Sample([number] * length, [IGNORE] * length)


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(30, 60))
def test_packed_rows_hold_every_sample_and_no_more_than_fits(
    lengths: list[int], limit: int
) -> None:
    samples = [of_length(length, number) for number, length in enumerate(lengths)]
    rows = packed(samples, limit)
    assert all(0 < sum(len(sample.ids) for sample in row) <= limit for row in rows)
    numbers = [[sample.ids[0] for sample in row] for row in rows]
    assert sorted(number for row in numbers for number in row) == [*range(len(samples))]
    assert all(each == sorted(each) for each in numbers)
    assert [each[0] for each in numbers] == sorted(each[0] for each in numbers)


@given(st.lists(st.integers(1, 30), max_size=30))
def test_a_sample_takes_the_first_row_with_room(lengths: list[int]) -> None:
    rows = packed([of_length(length) for length in lengths], 30)
    sizes = [sum(len(sample.ids) for sample in row) for row in rows]
    for at, row in enumerate(rows):
        assert all(size + len(row[0].ids) > 30 for size in sizes[:at])


def test_rows_in_words() -> None:
    rows = packed([of_length(length) for length in (6, 5, 4, 3, 2)], 10)
    assert [[len(sample.ids) for sample in row] for row in rows] == [[6, 4], [5, 3, 2]]


@pytest.mark.parametrize("numbers", [[], [0], [0, 0], [1], [2, 0, 1, 3]])
def test_stacked_images_are_the_same_in_one_block(numbers: list[int]) -> None:
    random = torch.Generator().manual_seed(0)
    samples = [
        Sample(
            [1],
            [1],
            [(0, 1)] * number,
            [torch.randint(256, (3, 4, 4), generator=random).byte() for _ in range(number)],
        )
        for number in numbers
    ]
    together = stacked(samples)
    assert len(together) == len(samples)
    for one, other in zip(samples, together, strict=True):
        assert replace(one, images=[]) == replace(other, images=[])
        assert len(one.images) == len(other.images)
        assert all(map(torch.equal, one.images, other.images))
    places = {image.untyped_storage().data_ptr() for each in together for image in each.images}
    assert len(places) == min(1, sum(numbers))


@pytest.mark.parametrize("size", [224, 490])
@pytest.mark.parametrize("name", PHOTOS)
def test_the_trainers_pixels_are_the_official_ones_within_a_tenth_of_a_grey_level(
    name: str, size: int
) -> None:
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    photo = decode(Path(spec.origin).with_name("data").joinpath(name).read_bytes())
    vision = resized(debug(), size).vision
    fast = normalise(square(photo, size)[None], vision)[0]
    std_3 = torch.tensor(normalisation(vision)[1]).view(3, 1, 1)
    off = (fast - preprocess(photo, vision)).abs() * std_3 * 255
    assert off.mean() < 0.1
