"""Safety, size and text rules: a row's fields and the answer."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from helpers.filters.filter_rows import answers, batch_of, row
from helpers.filters.reference_filters import REFERENCE

from filters.base import Filter
from filters.rules.aspect import AspectRatio
from filters.rules.nsfw import NsfwPresent, NsfwScore, NsfwTag
from filters.rules.text import TextValid

DEFERRED = "(deferred)"
NAN = math.nan


@pytest.mark.parametrize(
    ("rule", "fields", "expected"),
    [
        (TextValid(), {"invalid_text": True, "url": None, "caption": None}, "invalid_text"),
        (TextValid(), {"invalid_text": False}, None),
        (TextValid(), {"invalid_text": None}, None),
        # score
        (NsfwScore(), {"nsfw_score": 0.0}, None),
        (NsfwScore(), {"nsfw_score": 0.4999999}, None),
        (NsfwScore(), {"nsfw_score": 0.5}, "nsfw"),
        (NsfwScore(), {"nsfw_score": 1.0}, "nsfw"),
        (NsfwScore(), {"nsfw_score": 17.0}, "nsfw"),
        (NsfwScore(), {"nsfw_score": math.inf}, "nsfw"),
        (NsfwScore(), {"nsfw_score": None}, None),
        (NsfwScore(), {"nsfw_score": NAN}, None),  # nsfw.present rejects it
        (NsfwScore(threshold=0.45), {"nsfw_score": 0.45}, "nsfw"),
        (NsfwScore(threshold=0.45), {"nsfw_score": 0.4499}, None),
        # tag
        (NsfwTag(), {"nsfw_tag": "NSFW"}, "nsfw_tag"),
        (NsfwTag(), {"nsfw_tag": "unsure"}, "nsfw_tag"),
        (NsfwTag(), {"nsfw_tag": " Nsfw "}, "nsfw_tag"),
        (NsfwTag(), {"nsfw_tag": "UNLIKELY"}, None),
        (NsfwTag(), {"nsfw_tag": "NSFW?"}, None),
        (NsfwTag(), {"nsfw_tag": None}, None),
        (NsfwTag(tags=("NSFW",)), {"nsfw_tag": "UNSURE"}, None),
        # present
        (NsfwPresent(), {"nsfw_score": None, "nsfw_tag": None}, "nsfw_missing"),
        (NsfwPresent(), {"nsfw_score": None, "nsfw_tag": "Unlikely"}, None),
        (NsfwPresent(), {"nsfw_score": None, "nsfw_tag": "UNSURE"}, None),
        (NsfwPresent(), {"nsfw_score": None, "nsfw_tag": ""}, "nsfw_missing"),
        (NsfwPresent(), {"nsfw_score": None, "nsfw_tag": "safe"}, "nsfw_missing"),
        (NsfwPresent(), {"nsfw_score": 0.0, "nsfw_tag": None}, None),
        (NsfwPresent(), {"nsfw_score": 1.0, "nsfw_tag": None}, None),
        (NsfwPresent(), {"nsfw_score": NAN, "nsfw_tag": "UNLIKELY"}, "score_invalid"),
        (NsfwPresent(), {"nsfw_score": -0.01}, "score_invalid"),
        (NsfwPresent(), {"nsfw_score": 1.01}, "score_invalid"),
        (NsfwPresent(), {"nsfw_score": -math.inf}, "score_invalid"),
        (NsfwPresent(on_missing="keep"), {"nsfw_score": None, "nsfw_tag": None}, None),
        (NsfwPresent(on_missing="keep"), {"nsfw_score": NAN}, "score_invalid"),
        (NsfwPresent(on_missing="defer"), {"nsfw_score": None, "nsfw_tag": None}, DEFERRED),
        (NsfwPresent(on_missing="defer"), {"nsfw_score": NAN}, "score_invalid"),
        # aspect ratio
        (AspectRatio(), {"width": 600, "height": 100}, None),
        (AspectRatio(), {"width": 601, "height": 100}, "aspect_ratio"),
        (AspectRatio(), {"width": 100, "height": 600}, None),
        (AspectRatio(), {"width": 100, "height": 601}, "aspect_ratio"),
        (AspectRatio(), {"width": 1, "height": 1}, None),
        (AspectRatio(), {"width": 2**31 - 1, "height": 357913941}, "aspect_ratio"),
        (AspectRatio(), {"width": 2147483646, "height": 357913941}, None),
        (AspectRatio(), {"width": 0, "height": 100}, DEFERRED),
        (AspectRatio(), {"width": -5, "height": 100}, DEFERRED),
        (AspectRatio(), {"width": None, "height": 100}, DEFERRED),
        (AspectRatio(), {"width": None, "height": None}, DEFERRED),
        (AspectRatio(on_missing="keep"), {"width": None, "height": 1}, None),
        (AspectRatio(on_missing="drop"), {"width": 5, "height": 0}, "size_missing"),
        (AspectRatio(on_missing="drop"), {"width": 7, "height": 1}, "aspect_ratio"),
        (AspectRatio(maximum=2.5), {"width": 5, "height": 2}, None),
        (AspectRatio(maximum=2.5), {"width": 51, "height": 20}, "aspect_ratio"),
    ],
)
def test_answer(rule: Filter, fields: dict[str, Any], expected: str | None) -> None:
    given = row(**fields)
    assert answers(rule, batch_of([given])) == [expected]
    parameters = {name: getattr(rule, name) for name in rule.parameters()}
    assert REFERENCE[rule.name](given, **parameters) == expected, "the reference disagrees"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: NsfwScore(threshold=0.0), "threshold"),
        (lambda: NsfwScore(threshold=NAN), "threshold"),
        (lambda: NsfwTag(tags=("RACY",)), "RACY"),
        (lambda: AspectRatio(maximum=0.5), "at least 1"),
        (lambda: AspectRatio(maximum=math.inf), "at least 1"),
    ],
)
def test_a_senseless_parameter_is_refused(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


def test_scores_of_another_precision() -> None:
    for kind in (pa.float32(), pa.float64()):
        batch = pa.RecordBatch.from_pydict({"nsfw_score": pa.array([0.45, 0.4499, None], kind)})
        assert answers(NsfwScore(threshold=0.45), batch) == ["nsfw", None, None]
