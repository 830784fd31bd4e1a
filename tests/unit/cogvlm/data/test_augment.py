"""An augmented image and its boxes still fit, and by default nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cogvlm.data.augment import MIN_LEFT, Augment, Augmented, augment, says_side

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))
SEEDS = st.integers(0, 2**32)
AUGMENTS = st.builds(
    Augment,
    crop_min_share=st.floats(0.01, 1),
    flip=st.floats(0, 1),
    scale_min=st.floats(0.1, 1),
    brightness=st.floats(0, 1),
    contrast=st.floats(0, 1),
    saturation=st.floats(0, 1),
    jpeg_min_quality=st.integers(1, 100),
)


def noise(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def some_boxes(seed: int, most: int = 5) -> np.ndarray:
    random = np.random.default_rng(seed)
    corners_N22 = np.sort(random.random((random.integers(0, most + 1), 2, 2)), axis=1)
    return corners_N22.reshape(-1, 4)


def run(
    image: np.ndarray, boxes: np.ndarray, how: Augment, seed: int, texts: tuple[str, ...] = ()
) -> Augmented:
    return augment(image, boxes, texts, how, np.random.default_rng(seed))


@given(SIZES, SEEDS)
def test_by_default_nothing_changes(size: tuple[int, int], seed: int) -> None:
    image, boxes = noise(size, seed), some_boxes(seed)
    random = np.random.default_rng(seed)
    result = augment(image, boxes, ["a cat"], Augment(), random)
    assert not Augment().active
    assert np.array_equal(result.image_HW3, image)
    assert np.array_equal(result.boxes_N4, boxes)
    assert (result.left_N == 1).all()
    assert random.bit_generator.state == np.random.default_rng(seed).bit_generator.state


@settings(max_examples=200)
@given(SIZES, AUGMENTS, SEEDS)
def test_what_comes_out_is_an_image_and_its_boxes(
    size: tuple[int, int], how: Augment, seed: int
) -> None:
    image, boxes = noise(size, seed), some_boxes(seed)
    result = run(image, boxes, how, seed)
    assert result.image_HW3.dtype == np.uint8 and result.image_HW3.flags.c_contiguous
    assert all(
        min(2, before) <= after <= before
        for before, after in zip(image.shape[:2], result.image_HW3.shape[:2], strict=True)
    )
    assert result.image_HW3.shape[2] == 3
    assert result.boxes_N4.shape == boxes.shape and result.left_N.shape == (len(boxes),)
    assert ((result.boxes_N4 >= 0) & (result.boxes_N4 <= 1)).all()
    assert (result.boxes_N4[:, :2] <= result.boxes_N4[:, 2:]).all()
    assert ((result.left_N >= 0) & (result.left_N <= 1)).all()


@given(SIZES, AUGMENTS, SEEDS)
def test_the_same_state_gives_the_same_result(
    size: tuple[int, int], how: Augment, seed: int
) -> None:
    first, second = (run(noise(size, 1), some_boxes(2), how, seed) for _ in range(2))
    assert np.array_equal(first.image_HW3, second.image_HW3)
    assert np.array_equal(first.boxes_N4, second.boxes_N4)
    assert np.array_equal(first.left_N, second.left_N)


@settings(max_examples=200)
@given(
    st.integers(0, 60), st.integers(0, 60), st.integers(6, 40), st.integers(6, 40),
    st.floats(0.05, 1), st.sampled_from([0.0, 1.0]), st.sampled_from([0.7, 1.0]),
    st.sampled_from([80, 100]), SEEDS,
)  # fmt: skip
@example(0, 0, 35, 6, 0.0625, 0.0, 0.7, 80, 251731)
def test_a_painted_rectangle_is_where_its_box_says(
    x0: int, y0: int, width: int, height: int, crop: float, flip: float, scale: float,
    quality: int, seed: int,
) -> None:  # fmt: skip
    image = np.full((100, 100, 3), 255, np.uint8)
    image[y0 : y0 + height, x0 : x0 + width] = (255, 0, 0)
    boxes = np.array([[x0, y0, x0 + width, y0 + height]]) / 100
    how = Augment(
        crop_min_share=crop, flip=flip, scale_min=scale, brightness=0.2, jpeg_min_quality=quality
    )
    result = run(image, boxes, how, seed)
    assume(result.left_N[0] >= MIN_LEFT)  # of a wide box and a narrow window nothing may be left
    size_px = np.array(result.image_HW3.shape[1::-1])
    rows, columns = np.nonzero(
        result.image_HW3[..., 0].astype(int) - result.image_HW3[..., 1] > 100
    )
    found_px = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # The JPEG stores colours at half resolution, so its edges may be off by two pixels.
    np.testing.assert_allclose(found_px, result.boxes_N4[0] * np.tile(size_px, 2), atol=2)


@given(st.floats(0.05, 1), SEEDS)
def test_a_crop_has_its_share_and_says_what_is_left(min_share: float, seed: int) -> None:
    image, boxes = noise((90, 120), 0), some_boxes(seed)
    result = run(image, boxes, Augment(crop_min_share=min_share), seed)
    height_px, width_px = result.image_HW3.shape[:2]
    assert height_px * width_px >= min_share * 90 * 120 * (1 - 1e-9)
    sides = result.boxes_N4[:, 2:] - result.boxes_N4[:, :2]
    areas_px = (sides * [width_px, height_px]).prod(1)
    whole_px = ((boxes[:, 2:] - boxes[:, :2]) * [120, 90]).prod(1)
    np.testing.assert_allclose(areas_px / whole_px, result.left_N)


@given(st.floats(0.05, 1), st.floats(0, 0.95), st.floats(0, 0.95), SEEDS)
def test_boxes_that_fit_are_kept(min_share: float, x: float, y: float, seed: int) -> None:
    boxes = np.array([[x, y, x + 0.01, y + 0.02], [x + 0.03, y, x + 0.04, y + 0.01]])
    result = run(noise((200, 200), 0), boxes, Augment(crop_min_share=min_share), seed)
    assert (result.left_N >= MIN_LEFT).all()


def test_boxes_are_cut_too() -> None:
    """Otherwise no phrase would ever be seen at the border."""
    box = np.array([[0.3, 0.3, 0.6, 0.6]])
    how = Augment(crop_min_share=0.4)
    left = [run(noise((50, 50), 0), box, how, seed).left_N[0] for seed in range(50)]
    assert min(left) < 1 and sum(each == 1 for each in left) > 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("the dog on the left", True),
        ("Leftmost dog", True),
        ("a right-hand drive car", True),
        ("the righthand side", True),
        ("turning rightwards", True),
        ("top-left corner", True),
        ("upper_right", True),
        ("bottomleft", True),
        ("LEFT: a cat", True),
        ("左边的狗", True),
        ("最右侧的人", True),
        ("a bright upright cleft copyright", False),
        ("a dog on a mat", False),
        ("一只狗", False),
        ("", False),
    ],
)
def test_what_says_left_or_right_is_not_mirrored(text: str, says: bool) -> None:
    image, boxes = noise((8, 8), 0), np.array([[0.0, 0.25, 0.5, 1.0]])
    result = run(image, boxes, Augment(flip=1.0), 0, texts=("a dog", text))
    assert says_side([text]) == says
    assert np.array_equal(result.image_HW3, image if says else image[:, ::-1])
    assert result.boxes_N4.tolist() == [[0.0, 0.25, 0.5, 1.0] if says else [0.5, 0.25, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop_min_share", 0.0),
        ("crop_min_share", 1.1),
        ("scale_min", 0.0),
        ("flip", -0.1),
        ("brightness", 2.0),
        ("contrast", -1.0),
        ("saturation", float("nan")),
        ("jpeg_min_quality", 0),
        ("jpeg_min_quality", 101),
        ("jpeg_min_quality", 0.5),
    ],
)
def test_a_bad_setting_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"augment\.{field} is .*; it must be"):
        Augment(**{field: value})
