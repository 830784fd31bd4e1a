"""Benchmarks as they are published go through pack to the questions that evaluation asks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.cogvlm import toy_tokenizer
from helpers.cogvlm.tiny_models import built
from helpers.pipelines import benchmark_files, jobs

from cogvlm import evaluate
from cogvlm.checkpoints import checkpoint
from cogvlm.model.variants.small import debug

TASKS = {
    **dict.fromkeys(("coco_captions", "nocaps", "karpathy"), "caption"),
    **{"textvqa": "vqa", "vizwiz": "vqa", "docvqa": "anls", "gqa": "exact", "mm_vet": "exact"},
    **{"pope": "yes_no", "scienceqa": "choice"},
}

REASONS = {
    "coco_captions": {"image_missing": 1, "no_text": 1},
    "nocaps": {"image_missing": 2},
    "karpathy": {"no_text": 1},
    "textvqa": {
        **{"image_missing": 1, "record_malformed": 1, "no_annotation": 1, "empty_answer": 1},
        "empty_question": 1,
    },
    "docvqa": {"no_annotation": 1, "record_malformed": 2},
    "vizwiz": {"no_annotation": 1, "record_malformed": 3},
    "gqa": {"no_annotation": 1, "record_malformed": 1, "empty_answer": 1},
    "pope": {"no_annotation": 1, "record_malformed": 1},
    "scienceqa": {"image_missing": 1, "record_malformed": 3, "empty_question": 1},
    "mm_vet": {"image_name": 1, "no_annotation": 1},
}

REFERENCES: dict[str, dict[str, list[str]]] = {
    "coco_captions": {"1": ["A cup."], "0": ["A red box.", "One box."]},
    "nocaps": {
        "0": ["scene 0 in words 0", "scene 0 in words 1"],
        "10": ["scene 1 in words 0", "scene 1 in words 1"],
    },
    "karpathy": {"0": ["A.", "B."], "10": ["C."]},
    "textvqa": {"1": ["stop", "go", "stop"], "2": ["", "exit"]},
    "docvqa": {"1": ["E. Shannon", "Shannon"], "2": ["12"]},
    "vizwiz": {
        "VizWiz_val_00000000.jpg": ["soup", "can", "soup", "tin"],
        "VizWiz_val_00000001.jpg": ["unanswerable"] * 4,
    },
    "gqa": {"05515938": ["cup"], "05515939": ["yes"]},
    "pope": {"1": ["yes"], "2": ["no"], "3": ["yes"]},
    "scienceqa": {"1": ["B"], "2": ["B"], "3": ["B"]},
    "mm_vet": {"v1_0": ["-1<AND>-5"], "v1_1": ["a cup<OR>a mug"]},
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the run of each benchmark."""
    folder = tmp_path_factory.mktemp("packed")
    runs = {}
    for make in benchmark_files.MADE:
        made, run = make(folder / make.__name__), folder / "runs" / make.__name__
        flags = (f"--format={made.format}", *made.flags, f"--output={run}")
        code, errors = jobs.run([*flags, "--worker_mode=threads"], "pipelines.pack")
        assert code == 0, errors
        runs[make.__name__] = run
    return runs


@pytest.fixture(scope="module")
def answers(packed: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return what a random model answered, all benchmarks in one call."""
    folder = tmp_path_factory.mktemp("evaluated")
    checkpoint.save(built(replace(debug(), max_positions=256, vocab_size=300)), folder / "model")
    shutil.copy(toy_tokenizer.write(folder / "words"), folder / "model")
    data = ",".join(f"{TASKS[name]}={run}" for name, run in packed.items())
    flags = ("--checkpoint", folder / "model", "--data", data, "--dump", folder / "dump.jsonl")
    assert evaluate.main([*map(str, flags), "--max_new_tokens", "2"]) == 0
    return [json.loads(line) for line in (folder / "dump.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", TASKS)
def test_what_cannot_be_used_has_a_reason(packed: Mapping[str, Path], name: str) -> None:
    assert jobs.counts(packed[name])["read"]["left_out"] == REASONS[name]
    assert jobs.counts(packed[name])["mix"]["left_out"] == {"duplicate": 0}


def test_a_model_is_asked_every_question_with_its_references(
    packed: Mapping[str, Path], answers: list[Any]
) -> None:
    left = list(answers)
    for name in packed:
        here, left = left[: len(REFERENCES[name])], left[len(REFERENCES[name]) :]
        assert {each["task"] for each in here} == {TASKS[name]}
        if TASKS[name] == "caption":  # any of an image's captions may stand for it
            told = sorted(sorted(each["reference"]) for each in here)
            assert told == sorted(REFERENCES[name].values())
        else:
            assert {each["source_key"]: each["reference"] for each in here} == REFERENCES[name]
    assert not left


def test_choices_stay_in_their_order_and_the_hint_comes_first(answers: list[Any]) -> None:
    asked = {each["source_key"]: each["question"] for each in answers if each["task"] == "choice"}
    assert asked["1"].startswith("Which is hardest?\nA. clay\nB. glass\n")
    assert asked["2"].startswith("Look at it.\nWhich is hardest?\nA. clay\n")
    assert asked["3"].startswith("Which is hardest?\nA. silk\nB. glass\nC. wool\n")


def test_a_constant_answer_is_scored(packed: Mapping[str, Path], tmp_path: Path) -> None:
    names = [name for name in packed if TASKS[name] != "caption"]
    data = ",".join(f"{TASKS[name]}={packed[name]}" for name in names)
    told = tmp_path / "told.json"
    assert evaluate.main(["--data", data, "--blind", "constant", "--json", str(told)]) == 0
    found = dict(zip(names, json.loads(told.read_text())["entries"], strict=True))
    assert {name: each["questions"] for name, each in found.items()} == {
        name: len(REFERENCES[name]) for name in names
    }
    assert found["pope"]["accuracy"] == pytest.approx(2 / 3)
    assert found["scienceqa"]["accuracy"] == 1
    assert found["gqa"]["accuracy"] == found["docvqa"]["anls"] == 0.5
