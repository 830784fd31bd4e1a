"""`python -m grounding.evaluate` and `make verify-glip` as they are typed."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.grounding import annotation_files
from helpers.paths import ROOT
from helpers.shards import toy_shards
from PIL import Image

from grounding.annotated import grit
from grounding.detector import Detection
from grounding.detectors import load
from grounding.evaluate import main
from grounding.samples import open_grounded, samples
from grounding.verify import main as verify
from shards.files import parquet
from shards.files.store import Store
from shards.schema import LABELS, PHRASES


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return toy_shards.write_run(tmp_path / "gold", toy_shards.grounded(12), level="grounded")


def run_of(folder: Path, change) -> Path:
    """A run of the gold's samples, with the same keys and with fields that `change` makes."""
    made = []
    for each in toy_shards.grounded(12):
        fields = change(each.caption, dict(each.fields))
        if fields is not None:
            made.append(_Changed(each, fields))
    return toy_shards.write_run(folder, made, level="grounded")


class _Changed:
    """A sample with other fields than those that its address is made of."""

    def __init__(self, one: toy_shards.ToySample, fields) -> None:
        self.caption, self.images, self.size_px = one.caption, one.images, one.size_px
        self.url, self.key, self.fields = one.url, one.key, fields


def evaluated(tmp_path: Path, *arguments: str) -> dict:
    file = tmp_path / "numbers.json"
    assert main([*map(str, arguments), "--json", str(file)]) == 0
    return json.loads(file.read_text())


def shares(values: dict, protocol: str = "any") -> list:
    return [each["value"] for each in values["metrics"]["recall"][protocol]["all"].values()]


def test_a_run_is_right_about_itself(tmp_path: Path, gold: Path, capsys):
    values = evaluated(tmp_path, gold, "--predictions", gold)
    found = values["metrics"]
    assert shares(values) == shares(values, "merged") == [1, 1, 1]
    assert found["chunks"]["exact"]["f1"] == found["chunks"]["head"]["f1"] == 1
    assert found["rec_accuracy"] == {"value": None, "hits": 0, "total": 0}
    at = {row["threshold"]: row for row in found["labels"]}
    assert (at[0.85]["precision"]["value"], at[0.85]["coverage"]["value"]) == (1, 1)
    assert (at[0.9]["precision"]["value"], at[0.9]["coverage"]["value"]) == (None, 0)
    assert values["data"]["fingerprint"] == values["predictions"]["fingerprint"]
    text = capsys.readouterr().out
    assert "REC accuracy@0.5, first box: n/a of 0" in text and "nan" not in text.lower()


def test_worse_predictions(tmp_path: Path, gold: Path):
    def change(caption, fields):
        rows = fields["noun_chunks"]
        if len(rows) == 1:
            return None  # not a sample of the predictions
        corner = [0, 0, 0.01, 0.01]
        first, second = rows
        moved = [
            [*first[:2], *corner, 0.95],
            first,
            [*second[:2], *corner, 0.5],
            [0, 1, *corner, 1],
        ]
        head = fields["phrases"][0]
        longer = {**head, "start": head["start"], "end": head["end"] + 1}
        phrases = [longer, *fields["phrases"][1:]]
        return {**fields, "noun_chunks": moved, "ref_exps": [], "phrases": phrases}

    predictions = run_of(tmp_path / "predictions", change)
    both = [each for each in toy_shards.grounded(12) if len(each.fields["noun_chunks"]) == 2]
    n, alone = len(both), 12 - len(both)
    values = evaluated(tmp_path, gold, "--predictions", predictions, "--thresholds", "0,0.92")
    found = values["metrics"]
    assert found["samples"] == 12 and found["samples_without_predictions"] == alone
    at_5 = n / (2 * n + alone)  # the first phrase of each pair, at its second box
    assert shares(values) == [0, pytest.approx(at_5), pytest.approx(at_5)]
    low, high = found["labels"]
    assert low["precision"] == {"value": pytest.approx(1 / 3), "hits": n, "total": 3 * n}
    assert low["coverage"] == {
        "value": 2 * n / (2 * n + alone),
        "hits": 2 * n,
        "total": 2 * n + alone,
    }
    assert high["precision"] == {"value": 0, "hits": 0, "total": n}
    assert found["boxes_elsewhere"] == n
    exact, head = found["chunks"]["exact"], found["chunks"]["head"]
    assert (exact["shared"], exact["predicted"], exact["gold"]) == (n, 2 * n, 2 * n)
    assert head["f1"] == 1


def test_an_expression_answers_for_a_gold_phrase_that_is_no_chunk(tmp_path: Path, gold: Path):
    def change(_, fields):
        rows = fields["noun_chunks"]
        around = [[max(0, row[0] - 1), *row[1:]] for row in rows]  # as expressions are: longer
        cut = [[row[0] + 2, *row[1:]] for row in rows]
        return {**fields, "noun_chunks": cut, "ref_exps": [*rows, *around]}

    predictions = run_of(tmp_path / "predictions", change)
    values = evaluated(tmp_path, gold, "--predictions", predictions)
    assert shares(values) == [1, 1, 1]
    boxes = sum(len(each.fields["noun_chunks"]) for each in toy_shards.grounded(12))
    assert values["metrics"]["boxes_elsewhere"] == boxes  # the cut chunks, not the expressions


def test_a_detector_is_told_the_phrases(tmp_path: Path, capsys):
    run = toy_shards.write_run(tmp_path / "big", toy_shards.grounded(6, size=128), level="grounded")
    values = evaluated(tmp_path, run, "--detector", "blobs", "--batch", "4")
    assert shares(values) == [1, 1, 1]
    assert values["detector"]["name"].startswith("blobs") and values["detector"]["fingerprint"]
    assert values["metrics"]["chunks"] is None
    assert "noun chunks: not scored" in capsys.readouterr().out


def test_against_grit(tmp_path: Path, gold: Path, capsys):
    ours = list(samples(open_grounded(gold)))
    changed = []
    for number, each in enumerate(ours):
        rows = each.grounding.noun_chunks
        moved = tuple(row._replace(x0=0.0, y0=0.0, x1=0.01, y1=0.01) for row in rows)
        other = replace(each.grounding, noun_chunks=moved) if number == 0 else each.grounding
        common = each.common
        if number == 1:  # another key, the same address
            common = replace(common, key="f" * 32)
        if number == 2:  # another address, too
            common = replace(common, key="e" * 32, url="https://other.example/")
        changed.append(replace(each, common=common, grounding=other))
    file = tmp_path / "grit.parquet"
    grit.write(changed, file)
    found = evaluated(tmp_path, gold, "--against", "grit", str(file))["agreement"]
    captions = [each.common.caption for each in ours]
    alone = captions.count(captions[2]) == 1
    assert found["pairs"] == 11 + alone and found["pairs_by_caption"] == alone
    assert found["chunks"]["f1"] == found["expressions"]["f1"] == found["same_count"]["value"] == 1
    lost = len(ours[0].grounding.noun_chunks)
    boxes = found["boxes"]
    assert boxes["gold"] - boxes["shared"] == lost and boxes["predicted"] == boxes["gold"]
    assert "boxes of shared chunks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "{other}"], "has no sample of"),
        (["--detector", "yolo:x"], "no detector 'yolo:x'"),
        (["--against", "coco", "f"], "the only form is grit"),
        (["--against", "grit", "{gold}/none"], "not a readable parquet"),
        (["--predictions", "{gold}", "--thresholds", "x"], "must be numbers"),
        (["--predictions", "{gold}/none"], "no such folder"),
        (["--detector", "blobs", "--batch", "0"], "batch of 0"),
        (["--detector", "blobs", "--json", "{gold}/none/n.json"], "folder does not exist"),
    ],
)
def test_what_the_user_can_mend_is_one_line(tmp_path: Path, gold, arguments, message, capsys):
    other = toy_shards.write_run(tmp_path / "o", toy_shards.grounded(2, 99), level="grounded")
    filled = [each.format(gold=gold, other=other) for each in arguments]
    assert main([str(gold), *filled]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("damage", ["image", "json"])
def test_a_damaged_sample_is_named(tmp_path: Path, damage, capsys):
    (one,) = toy_shards.grounded(1)
    images = (b"none",) if damage == "image" else one.images
    fields = {**one.fields, "phrases": [{}]} if damage == "json" else one.fields
    bad = toy_shards.ToySample(one.caption, images, fields, one.size_px)
    run = toy_shards.write_run(tmp_path / "run", [bad], level="grounded")
    assert main([str(run), "--detector", "blobs"]) == 2
    assert f"sample {bad.key}: " in capsys.readouterr().err


def test_captions_only_are_no_gold(tmp_path: Path, capsys):
    run = toy_shards.write_run(tmp_path / "run", toy_shards.captioned(2))
    assert main([str(run), "--detector", "blobs"]) == 2
    assert "this needs 'grounded'" in capsys.readouterr().err


class _Fixed:
    """Puts one box for everything: the right half of the image, or a part of it."""

    name, fingerprint, languages = "fixed", "0", None

    def __init__(self, share: float) -> None:
        self.box = [0.5, 0.1, 0.5 + 0.5 * (share or 0.01), 1.0]

    def detect(self, images, captions, spans):
        boxes = np.array([self.box], np.float32)
        return [[Detection(boxes, np.ones(1, np.float32)) for _ in at] for at in spans]


class TestVerify:
    def test_refusals_say_what_to_get(self, tmp_path: Path, capsys):
        weights = tmp_path / "glip.pth"
        weights.write_bytes(b"")
        flickr = annotation_files.flickr(tmp_path / "flickr")
        cases = {
            (): "WEIGHTS is not set",
            ("--weights", str(tmp_path / "none")): "there is no such file",
            ("--weights", str(weights)): "FLICKR is not set",
            ("--weights", str(weights), "--flickr", str(tmp_path)): "it has no Annotations",
            ("--weights", str(weights), "--flickr", str(flickr)): "it has no flickr30k-images",
        }
        for arguments, message in cases.items():
            assert verify(arguments) == 2
            error = capsys.readouterr().err
            assert message in error and error.count("\n") == 1

    @pytest.mark.parametrize(("share", "code"), [(1.0, 0), (0.0, 1)])
    def test_the_number_decides(self, tmp_path: Path, monkeypatch, capsys, share, code):
        """All but the checkpoint: another detector stands where it is loaded."""
        weights = tmp_path / "glip.pth"
        weights.write_bytes(b"")
        sentences = "[/EN#11/people Men] lift [/EN#12/other a box] .\n"
        flickr = annotation_files.flickr(tmp_path / "flickr", sentences=sentences)
        (flickr / "flickr30k-images").mkdir()
        Image.new("RGB", (200, 100)).save(flickr / "flickr30k-images" / "7.jpg")
        asked = {}

        def load_detector(name, **options):
            asked.update(options, name=name)
            return _Fixed(share)

        monkeypatch.setattr(load, "load_detector", load_detector)
        arguments = ["--weights", str(weights), "--flickr", str(flickr), "--vocab", "v.txt"]
        assert verify(arguments) == code
        assert asked["name"] == f"glip:{weights}" and asked["vocab"] == "v.txt"
        text = capsys.readouterr().out
        assert "must be at least 84; published: 85.6" in text
        assert ("NOT reached" in text) == bool(code)

    @pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
    @pytest.mark.parametrize("given", [[], ["WEIGHTS=none.pth"]])
    def test_make_refuses_politely(self, given):
        done = subprocess.run(
            # The environment is this one: `setup` would install into it.
            ["make", "--assume-old=setup", "--no-print-directory", "verify-glip", *given],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and "error: WEIGHTS" in done.stderr
        assert "Traceback" not in done.stderr


def labelled(folder: Path, gold: Path) -> Path:
    """The labels of a job over the gold: right boxes at 0.9 and corners at 0.3."""
    store = Store(folder)
    phrases, labels = [], []
    for sample in samples(open_grounded(gold)):
        found = sorted(sample.grounding.phrases, key=lambda each: each.start)
        records = [each.to_json() for each in found]
        spans = [phrase.span for phrase in found]
        boxes = [
            {"phrase": spans.index(row.span), **_sides(box), "score": score}
            for row in sample.grounding.noun_chunks
            for box, score in ((row.box_xyxy, 0.9), ((0, 0, 0.01, 0.01), 0.3))
        ]
        key = sample.common.key
        phrases.append({"key": key, "outcome": "with_phrases", "phrases": records})
        labels.append({"key": key, "outcome": "labelled", "boxes": boxes})
    half = len(phrases) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        name = f"{number:06d}"
        _write(store, f"phrases/{name}.parquet", phrases[part], PHRASES)
        _write(store, f"labels/{name}-00.parquet", labels[part], LABELS)
        files = [{"name": f"labels/{name}-00.parquet", "sha256": "0" * 64}]
        marker = {"result": {"files": files, "detector": "own detector"}, "run": {}}
        store.write(f"stats/labels/{name}-00.g0.json", json.dumps(marker).encode())
    return folder


def _sides(box) -> dict:
    return dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))


def _write(store: Store, name: str, rows, schema) -> None:
    path = Path(store.local_path(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = parquet.storage_schema(schema)
    parquet.write(str(path), [pa.Table.from_pylist(rows, schema)], schema)


def test_labels_of_a_job_have_boxes_below_its_threshold(tmp_path: Path, gold: Path, capsys):
    values = evaluated(
        tmp_path, gold, "--labels", labelled(tmp_path / "job", gold), "--thresholds", "0.2,0.65"
    )
    low, high = values["metrics"]["labels"]
    assert (low["precision"]["value"], high["precision"]["value"]) == (0.5, 1)
    assert shares(values) == [1, 1, 1] and values["metrics"]["chunks"]["exact"]["f1"] == 1
    assert values["detector"] == {"name": "own detector"}
    assert main([str(gold), "--labels", str(tmp_path / "none")]) == 2
    assert "--stop_after labels" in capsys.readouterr().err
