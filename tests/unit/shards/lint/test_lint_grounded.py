"""Breaches of grounded samples: one broken thing in one sample of a run, one finding."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.shards import toy_shards

from pipelines.lint import main
from shards.files.store import Store
from shards.lint import lint
from shards.lint.grounded import GroundedBreach, grounded_breaches

Fields = dict[str, Any]
CAPTION = "a red cat on a big mat"
CAT, MAT, CAT_ON_MAT = [0, 9], [13, 22], [0, 22]


def phrase(span: list[int], **changed: Any) -> Fields:
    start, end = span
    known = {
        **{"start": start, "end": end, "head_start": end - 3, "head_end": end},
        **{"head_lemma": CAPTION[end - 3 : end], "root_pos": "NOUN", "drop_reason": None},
        **{"expr_start": None, "expr_end": None},
    }
    return known | changed


SOUND: Fields = {
    "noun_chunks": [
        [*MAT, 0.0, 0.5, 1.0, 1.0, 0.9],
        [*CAT, 0.2, 0.1, 0.4, 0.6, 0.8],
        [*CAT, 0.1, 0.1, 0.4, 0.6, 0.8],
    ],
    "ref_exps": [[*MAT, 0.0, 0.5, 1.0, 1.0, 0.9], [*CAT_ON_MAT, 0.2, 0.1, 0.4, 0.6, 0.8]],
    "phrases": [phrase(CAT, expr_start=0, expr_end=22), phrase(MAT)],
    "phrase_categories": [[*CAT, ["animals"]]],
}


def changed(name: str, number: int, **values: Any) -> Callable[[Fields], None]:
    return lambda fields: fields[name][number].update(values)


def cell(name: str, number: int, column: int, value: Any) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        fields[name][number][column] = value

    return change


def absent(name: str) -> Callable[[Fields], None]:
    return lambda fields: fields.update({name: None})


def turned(name: str) -> Callable[[Fields], None]:
    return lambda fields: fields[name].reverse()


BREACHES: dict[str, tuple[Callable[[Fields], None], str]] = {
    "no rows": (absent("noun_chunks"), "rows_malformed: noun_chunks is not a list: None"),
    "no number": (cell("ref_exps", 1, 2, "0.2"), "rows_malformed: ref_exps[1]: not seven"),
    "half an offset": (cell("noun_chunks", 0, 0, 13.5), "rows_malformed: noun_chunks[0]: offsets"),
    "no phrases": (absent("phrases"), "phrases_malformed: phrases is not a list"),
    "a field of another type": (
        changed("phrases", 1, head_start="13"),
        "phrases_malformed: phrases[1]: head_start is '13'",
    ),
    "one end of an expression": (
        changed("phrases", 0, expr_end=None),
        "phrases_malformed: phrases[0]: an expression with one end",
    ),
    "categories": (absent("phrase_categories"), "categories_malformed: phrase_categories is not"),
    "a category": (cell("phrase_categories", 0, 2, "a"), "categories_malformed: phrase_categories"),
    "a row beyond the caption": (cell("ref_exps", 1, 1, 23), "span_outside: ref_exps[1]: 0..23"),
    "an empty phrase": (changed("phrases", 1, end=13), "span_outside: phrases[1]: 13..13"),
    "a head beyond the caption": (changed("phrases", 1, head_end=99), "span_outside: phrases[1]"),
    "a box in pixels": (cell("noun_chunks", 1, 4, 17), "box_outside: noun_chunks[1]"),
    "corners swapped": (cell("noun_chunks", 1, 2, 0.5), "box_corners: noun_chunks[1]"),
    "a score above 1": (cell("noun_chunks", 0, 6, 1.5), "score_outside: noun_chunks[0]"),
    "rows by span alone": (turned("noun_chunks"), "rows_order: noun_chunks[2]"),
    "expressions by span alone": (turned("ref_exps"), "rows_order: ref_exps[1]"),
    "phrases not by span": (turned("phrases"), "phrases_order: 0..9 after 13..22"),
    "one phrase twice": (
        lambda fields: fields["phrases"].append(phrase(MAT)),
        "phrases_order: 13..22 after 13..22",
    ),
    "a head in another phrase": (
        changed("phrases", 1, head_start=6, head_end=9),
        "head_outside: the head 6..9 of 13..22",
    ),
    "an expression without its phrase": (
        changed("phrases", 1, expr_start=13, expr_end=18),
        "expression_outside: the expression 13..18 around 13..22",
    ),
    "a row of no phrase": (cell("noun_chunks", 0, 0, 15), "row_without_phrase: noun_chunks[0]"),
    "an expression of no phrase": (cell("ref_exps", 1, 1, 9), "row_without_phrase: ref_exps[1]"),
    "a row of a dropped phrase": (
        lambda fields: (
            fields["phrases"].append(phrase([15, 22], drop_reason="abstract")),
            fields["noun_chunks"].append([15, 22, 0.0, 0.0, 0.5, 0.5, 0.1]),
        ),
        "row_of_dropped: noun_chunks[3]: 15..22 was dropped as abstract",
    ),
    "a category of no phrase": (
        cell("phrase_categories", 0, 0, 2),
        "category_without_phrase: 2..9",
    ),
}


def test_a_sound_sample_has_no_findings() -> None:
    assert [*grounded_breaches(SOUND, CAPTION)] == []


def test_every_kind_of_breach_is_tried() -> None:
    kinds = {message.partition(":")[0] for _, message in BREACHES.values()}
    assert kinds == {str(kind) for kind in GroundedBreach}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found_with_its_shard_and_key(name: str, tmp_path: Path) -> None:
    change, message = BREACHES[name]
    broken = copy.deepcopy(SOUND)
    change(broken)
    sound, *_ = toy_shards.grounded(1)
    sample = dataclasses.replace(sound, caption=CAPTION, fields=broken)
    run = toy_shards.write_run(tmp_path / "run", [sound, sample], level="grounded")
    findings = [str(finding) for finding in lint(Store(run))]
    (found,) = [finding for finding in findings if message in finding]
    place, _, what = found.partition(": ")
    assert what.startswith(message)
    file, _, key = place.partition(" ")
    assert file == "shards/000000.tar" and len(key) == 32
    # A row that lost its phrase or its order may break a second rule, never another sample's.
    assert {finding.partition(": ")[0] for finding in findings} == {place}
    assert main([str(run)]) == 1
