"""The grounding job over rendered scenes: accounting, the two-box rule, the same bytes always."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import jobs
from helpers.shards import toy_shards

from examples.scenes import scene
from grounding.detector import Detection, Span
from pipelines.ground_job import detecting, devices, labels, settings
from shards import lint, manifest, read
from shards.access import SampleReader
from shards.dataset import open_dataset
from shards.files.store import Store

COVERED = ("phrases", "labels", "boxes", "choice", "plan", "shards", "manifest.json")
MODULE = "pipelines.ground"
SIZE = 96


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of 120 scenes, one or two shapes each, in shards of several sizes."""
    folder = tmp_path_factory.mktemp("pairs") / "run"
    return toy_shards.write_run(
        folder, toy_shards.captioned(120, size=SIZE), shard_size=25, uneven=True
    )


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.ground_job.run.PART_ROWS", 10)


def flags(pairs: Path | str, output: Path, *more: str) -> list[str]:
    return [
        *(f"--input={pairs}", f"--output={output}", "--detector=blobs", "--spacy_model=lexicon"),
        *("--shard_size=20", "--lease_s=1", "--worker_mode=threads", *more),
    ]


def ground(pairs: Path | str, output: Path, *more: str) -> None:
    code, errors = jobs.run(flags(pairs, output, *more), MODULE)
    assert code == 0, errors


@pytest.fixture(scope="module")
def grounded(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what one uninterrupted run with one worker writes."""
    output = tmp_path_factory.mktemp("grounded") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.ground_job.run.PART_ROWS", 10)
        ground(pairs, output)
    return output


def samples(run: Path) -> dict[str, dict[str, Any]]:
    dataset = open_dataset(run)
    reader = SampleReader(dataset)
    found = {}
    for shard in range(len(dataset.shards)):
        for raw in reader.iterate(shard):
            assert not isinstance(raw, ValueError), raw
            found[raw.key] = raw.fields()
    return found


def test_every_image_is_accounted_for_and_the_share_holds(pairs: Path, grounded: Path) -> None:
    counts = jobs.counts(grounded)
    assert {*counts} == {"phrases", "labels", "boxes", "choose", "select", "pack"}
    assert counts["phrases"]["in"] == 120
    for line in counts.values():
        assert line["in"] == line["out"] + sum(line["left_out"].values())
    found = samples(grounded)
    assert len(found) == counts["pack"]["out"]
    multi = sum(len(each["noun_chunks"]) >= 2 for each in found.values())
    assert 4 * multi > 3 * len(found)
    assert counts["select"]["left_out"]["not_selected"] > 0


def test_yields_tell_where_phrases_and_boxes_went(grounded: Path) -> None:
    told = json.loads((grounded / "stats" / "yields.json").read_text())
    assert told["chunks_kept"] == sum(told["chunks_by_boxes"].values())
    assert sum(told["images_by_boxes"].values()) == 120
    assert sum(told["scores"].values()) == sum(told["box_outcomes"].values())
    assert told["heads"]["circle"][1] > 0
    assert told["selected"]["two_boxes"] * 4 > told["selected"]["images"] * 3


def test_the_run_keeps_the_contract(grounded: Path) -> None:
    assert [str(each) for each in lint.lint(Store(grounded))] == []
    found = manifest.read(Store(grounded))
    assert (found.stage, found.level) == ("ground", "grounded")
    assert sum(1 for _ in read(grounded)) == found.samples
    sizes = [shard.samples for shard in found.shards]
    assert sizes[:-1] == [20] * (len(sizes) - 1)  # no ragged shards


def test_phrases_and_boxes_are_those_of_the_scene(pairs: Path, grounded: Path) -> None:
    before = samples(pairs)
    for key, sample in samples(grounded).items():
        assert {name: sample[name] for name in before[key]} == before[key]
        caption = sample["caption"]
        made = scene(int(caption.rpartition(" ")[2]), (SIZE, SIZE))
        rows = {caption[start:end]: box for start, end, *box, _ in sample["noun_chunks"]}
        for shape in made.shapes:
            truth = np.array(shape.box_xyxy_px) / SIZE
            assert np.abs(np.array(rows[shape.phrase]) - truth).max() < 0.05
        phrase_texts = {caption[each["start"] : each["end"]] for each in sample["phrases"]}
        assert phrase_texts >= {shape.phrase for shape in made.shapes}
        assert sample["detector"].startswith("blobs") and sample["score_threshold"] == 0.65


@pytest.mark.parametrize(
    "more",
    [
        ("--workers=3",),
        ("--workers=2", "--worker_mode=processes"),
        ("--workers=2", "--stop_after=labels"),
    ],
)
def test_bytes_do_not_depend_on_workers_or_stops(
    pairs: Path, grounded: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    ground(pairs, tmp_path, *more)
    ground(pairs, tmp_path)
    assert jobs.covered(tmp_path, COVERED) == jobs.covered(grounded, COVERED)


def _small_parts() -> None:
    from pipelines.ground_job import run

    run.PART_ROWS = 10


@pytest.mark.parametrize("moment", [0, 6, 14, 22, 30])
def test_kill_9_changes_nothing(pairs: Path, grounded: Path, tmp_path: Path, moment: int) -> None:
    command = flags(pairs, tmp_path)
    with jobs.start(command, tmp_path.with_suffix(".log"), _small_parts, module=MODULE) as child:
        assert jobs.until(lambda: len(jobs.markers(tmp_path)) >= moment, 60), child.errors()
        child.kill()
    ground(pairs, tmp_path)
    assert jobs.covered(tmp_path, COVERED) == jobs.covered(grounded, COVERED)


def test_two_launchers_share_one_output(pairs: Path, grounded: Path, tmp_path: Path) -> None:
    shared = ["--num_tasks=2"]
    log = tmp_path.with_suffix(".log")
    with jobs.start(
        flags(pairs, tmp_path, *shared, "--task_index=1"), log, _small_parts, module=MODULE
    ) as child:
        ground(pairs, tmp_path, *shared, "--task_index=0")
        assert child.wait() == 0, child.errors()
    assert jobs.covered(tmp_path, COVERED) == jobs.covered(grounded, COVERED)


def test_another_target_reads_labels_only(
    pairs: Path, grounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(grounded, run)
    code, errors = jobs.run(flags(pairs, run, "--target=20"), MODULE)
    assert code == 2 and "--target" in errors and "--overwrite" in errors
    monkeypatch.setattr(labels, "decode", None)  # no image may be looked at again
    ground(pairs, run, "--target=20", "--reselect", "--exact")
    assert len(samples(run)) == 20
    assert samples(run).keys() <= samples(grounded).keys()


def test_a_target_out_of_reach_says_by_how_much(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ground(pairs, tmp_path, "--target=5000", "--stop_after=choose")
    said = capsys.readouterr().out
    assert "target 5,000 cannot be reached" in said and "more images with two boxes" in said


def test_a_labelled_sample_forecasts(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ground(pairs, tmp_path, "--sample=0.5", "--stop_after=choose")
    capsys.readouterr()
    ground(pairs, tmp_path, "--sample=0.5", "--dry_run", "--target=40")
    assert "confidence" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("captions", "left_out"),
    [("best", {"duplicate": 0, "other_caption": 3}), ("first", None), ("all", {"duplicate": 0})],
)
def test_an_image_counts_once(
    tmp_path: Path, captions: str, left_out: dict[str, int] | None
) -> None:
    made = toy_shards.captioned(20, size=SIZE)
    again = [
        toy_shards.ToySample(f"a picture with {each.caption}", each.images, size_px=each.size_px)
        for each in made[:3]
    ]
    pairs = toy_shards.write_run(tmp_path / "pairs", [*made, *again], shard_size=9)
    ground(pairs, tmp_path / "out", f"--captions={captions}", "--policy=fill_single")
    line = jobs.counts(tmp_path / "out")["choose"]
    assert line["in"] == 23
    assert line["out"] == (23 if captions == "all" else 20)
    if left_out is not None:
        assert {name: line["left_out"][name] for name in left_out} == left_out


class Strange:
    """A detector with one strange answer for every image."""

    name, fingerprint, languages = "strange", "0", None

    def __init__(self, box: Sequence[float], score: float, upsamples: bool = False) -> None:
        self.box, self.score, self.enlarges = box, score, upsamples

    def upsamples(self, width: int, height: int) -> bool:
        return self.enlarges

    def detect(
        self, images: Sequence[Any], captions: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> list[list[Detection]]:
        boxes, scores = np.array([self.box], np.float32), np.array([self.score], np.float32)
        return [[Detection(boxes, scores) for _ in each] for each in spans]


STRANGE = {
    "not finite": (Strange([0, 0, float("nan"), 1], 0.9), "labels", "detector_not_finite"),
    "no box above the threshold": (Strange([0, 0, 1, 1], 0.3), "boxes", "no_box"),
    "outside": (Strange([1.5, 1.5, 2, 2], 0.9), "boxes", "no_box"),
    "empty": (Strange([0.5, 0.5, 0.5, 0.5], 0.9), "boxes", "no_box"),
}


@pytest.mark.parametrize(("detector", "stage", "reason"), STRANGE.values(), ids=list(STRANGE))
def test_strange_answers_are_counted(
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    detector: Strange,
    stage: str,
    reason: str,
) -> None:
    monkeypatch.setattr(detecting.DetectorSpec, "load", lambda spec: detector)
    code, errors = jobs.run(flags(pairs, tmp_path), MODULE)
    assert code == 2 and "nothing can be selected" in errors
    ground(pairs, tmp_path, "--stop_after=choose")
    markers = [json.loads(path.read_text())["result"] for path in jobs.markers(tmp_path, stage)]
    name = "outcomes" if stage == "labels" else "left_out"
    assert sum(each[name].get(reason, 0) for each in markers) == 120


def test_enlarged_images_stop_the_job_early(
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = Strange([0, 0, 0.5, 0.5], 0.9, upsamples=True)
    monkeypatch.setattr(detecting.DetectorSpec, "load", lambda spec: detector)
    usual = settings.labels_config
    monkeypatch.setattr(
        settings, "labels_config", lambda *facts: replace(usual(*facts), upsampled_from=5)
    )
    code, errors = jobs.run(flags(pairs, tmp_path), MODULE)
    assert code == 2 and "--allow_upsampled" in errors.splitlines()[-1]
    ground(pairs, tmp_path, "--allow_upsampled", "--stop_after=labels")  # in the same output
    (labelled,) = (line for line in capsys.readouterr().out.splitlines() if "enlarged" in line)
    done = [json.loads(path.read_text())["result"] for path in jobs.markers(tmp_path, "labels")]
    count = sum(each["outcomes"]["labelled"] for each in done)
    assert labelled.endswith(f"small things are lost: {count} of {count} images")


def test_a_run_of_another_job_is_left_alone(pairs: Path, grounded: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text(json.dumps({"options": {"preset": "cogvlm"}}))
    code, errors = jobs.run(flags(pairs, other), MODULE)
    assert code == 2 and "holds a run of pipelines.filter, not of pipelines.ground" in errors
    wanted = [f"--input=generic={tmp_path}/*.parquet", f"--output={grounded}"]
    code, errors = jobs.run(wanted, "pipelines.filter")
    assert code == 2 and "holds a run of pipelines.ground, not of pipelines.filter" in errors


def test_damaged_images_and_odd_captions_have_their_reason(tmp_path: Path) -> None:
    made = toy_shards.captioned(12, size=SIZE)
    image, size = made[0].images, made[0].size_px
    odd = ["", "!!!", "🙂 🙂", "он и она", "it", "a\tred\tcircle", "red circle " * 2500]
    made += [toy_shards.ToySample(text, image, size_px=size) for text in odd]
    made.append(toy_shards.ToySample("a red circle again", (image[0][:300],), size_px=size))
    pairs = toy_shards.write_run(tmp_path / "pairs", made, shard_size=7)
    ground(pairs, tmp_path / "out", "--policy=fill_single")
    counts = jobs.counts(tmp_path / "out")
    assert counts["phrases"]["in"] == 20
    assert counts["labels"]["left_out"]["image_damaged"] == 1
    assert counts["phrases"]["left_out"]["no_chunk"] >= 3


def img2dataset_folder(pairs: Path, folder: Path) -> Path:
    """Write the first shard of a run as img2dataset would have written it."""
    import io
    import tarfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    reader = SampleReader(open_dataset(pairs))
    keys = []
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, raw in enumerate(reader.iterate(0)):
            assert not isinstance(raw, ValueError)
            fields, key = raw.fields(), f"0000000{number:02d}"
            keys.append(key)
            theirs = {"url": fields["url"], "caption": fields["caption"], "key": key}
            for extension, data in (
                ("jpg", raw.images[0]),
                ("json", json.dumps(theirs).encode()),
                ("txt", raw.text),
            ):
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pq.write_table(
        pa.table({"key": keys, "status": ["success"] * len(keys)}), folder / "00000.parquet"
    )
    (folder / "00000_stats.json").write_text(json.dumps({"successes": len(keys)}))
    return folder


def test_an_img2dataset_folder_is_read_in_place(pairs: Path, tmp_path: Path) -> None:
    folder = img2dataset_folder(pairs, tmp_path / "old")
    before = sorted(path.name for path in folder.iterdir())
    ground(folder, tmp_path / "out", "--policy=fill_single")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [str(each) for each in lint.lint(Store(tmp_path / "out"))] == []
    ours, found = samples(pairs), samples(tmp_path / "out")
    assert found and found.keys() <= ours.keys()  # the contract's keys: of URL and caption
    assert {each["source"] for each in found.values()} == {"img2dataset"}


@pytest.fixture
def no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels.LabelsConfig, "process", None)


REFUSALS = {
    "no detector": (["--detector="], "--detector is missing"),
    "unknown detector": (["--detector=yolo"], "glip:CHECKPOINT"),
    "GLIPv2": (["--detector=glipv2"], "never published"),
    "no spaCy model": (["--spacy_model=en_core_web_xx"], "python -m spacy download"),
    "share": (["--two_box_share=0.75"], "type one like 3/4"),
    "share above 1": (["--two_box_share=4/3"], "between 0 and 1"),
    "threshold": (["--cross_phrase_iou=2"], "cross_phrase_iou"),
    "no such input": (["--input=/nowhere/at/all"], "there is no such folder"),
    "no input": (["--input="], "--input is missing"),
}


@pytest.mark.parametrize(("wrong", "says"), REFUSALS.values(), ids=list(REFUSALS))
def test_mistakes_are_told_before_any_work(
    no_labels: None, pairs: Path, tmp_path: Path, wrong: list[str], says: str
) -> None:
    code, errors = jobs.run(flags(pairs, tmp_path / "out", *wrong), MODULE)
    assert code == 2 and says in errors and errors.count("\n") == 1
    assert not (tmp_path / "out" / "stats").exists()


def test_a_launcher_for_every_gpu_ends_with_the_same_shards(
    pairs: Path, grounded: Path, tmp_path: Path
) -> None:
    ground(pairs, tmp_path, "--devices=0,1")  # parts are larger there: launchers of their own
    names = ("phrases", "choice", "plan", "shards")
    assert jobs.covered(tmp_path, names) == jobs.covered(grounded, names)


def test_devices_are_numbers_and_their_launchers_get_the_rest_of_the_command() -> None:
    assert devices.named(None) == [] and devices.named("0, 3") == ["0", "3"]
    for wrong in ("gpu0", "0,0", "0,"):
        with pytest.raises(ValueError, match="give auto, or different numbers"):
            devices.named(wrong)
    given = ["--input=a", "--devices", "0,1", "--overwrite", "--stop_after=choose", "--limit", "9"]
    assert devices.without(given, devices._OURS) == ["--input=a", "--limit", "9"]
