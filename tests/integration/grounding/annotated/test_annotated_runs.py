"""Annotation files to a run that keeps the contract, and from there out again."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from helpers.grounding import annotation_files
from helpers.shards import toy_shards
from PIL import Image

from grounding.annotated import coco, flickr30k_entities, grit, refcoco, visual_genome
from grounding.annotated.annotations import Annotated, AnnotatedPhrase, folder_images, write_shards
from grounding.samples import open_grounded, raw_samples, samples
from pipelines.lint import main as lint
from shards import manifest
from shards.files.store import Store
from shards.lint import lint as breaches
from shards.reading.reader import read, read_sidecar


def picture(width: int, height: int, colour: str = "red", kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind)
    return file.getvalue()


def record(image_id: str, caption: str, *spans: tuple[int, int], box=(0.1, 0.1, 0.9, 0.9)):
    phrases = tuple(AnnotatedPhrase(*span, (box,)) for span in spans)
    return Annotated(
        image_id=image_id,
        caption=caption,
        phrases=phrases,
        source="own",
        source_file="own.json",
        source_row=0,
    )


def test_flickr_to_a_run(tmp_path: Path):
    folder = annotation_files.flickr(tmp_path / "flickr")
    (folder / "images").mkdir()
    (folder / "images" / "7.jpg").write_bytes(picture(200, 100))
    out = tmp_path / "out"
    records = flickr30k_entities.read(folder, "test")
    written = write_shards(records, folder_images(folder / "images"), out)
    assert (written.samples, written.left_out) == (2, {"markup_malformed": 1})
    assert list(breaches(Store(out))) == [] and lint([str(out)]) == 0
    assert manifest.read(Store(out)).level == "grounded"
    found = {each.common.caption: each for each in samples(open_grounded(out))}
    first = found["Two tall men lift a heavy box in the air ."]
    assert [row.span for row in first.grounding.noun_chunks] == [(0, 12), (0, 12), (18, 29)]
    assert first.grounding.ref_exps == first.grounding.noun_chunks
    assert [each.head_lemma for each in first.grounding.phrases] == ["men", "box", "air"]
    assert first.grounding.categories[33, 40] == ("notvisual",)
    assert (first.common.url, first.common.source_key, first.common.width) == (None, "7", 200)


def test_everything_left_out_has_a_reason(tmp_path: Path):
    images = {"1": picture(40, 40), "2": picture(40, 80), "bad": b"no image", "4": picture(9, 9)}
    records = [
        record("1", "a red mat", (0, 9)),
        record("1", "a red mat", (2, 9)),  # the same caption of the same image
        record("2", "a red mat", (0, 9)),
        record("3", "a mat", (0, 5)),
        record("bad", "a mat", (0, 5)),
        record("4", "mats", (0, 4), (0, 4)),
        record("4", "mats", (0, 9)),
        record("4", "mats", (0, 4), box=(0.5, 0.5, 0.2, 0.9)),
    ]
    written = write_shards(records, images.__getitem__, tmp_path / "out", shard_size=2)
    assert written.samples == 2
    assert written.left_out == {
        "box_outside": 1,
        "duplicate": 1,
        "duplicate_span": 1,
        "image_missing": 1,
        "not_an_image": 1,
        "span_outside": 1,
    }
    store = Store(tmp_path / "out")
    assert list(breaches(store)) == []
    found = manifest.read(store)
    assert [(each.planned, each.samples) for each in found.shards] == [(2, 2), (1, 0)]
    rows = [row for shard in found.shards for row in read_sidecar(store, shard).to_pylist()]
    assert sorted(row["outcome"] for row in rows) == ["not_an_image", "success", "success"]


def test_images_of_another_shape_or_format(tmp_path: Path):
    wide = {"width_px": 200, "height_px": 100}
    turned = Annotated(**{**record("1", "a", (0, 1)).__dict__, **wide})
    half = Annotated(**{**record("2", "a", (0, 1)).__dict__, **wide})
    images = {"1": picture(100, 200), "2": picture(101, 50, kind="PNG")}
    written = write_shards([turned, half], images.__getitem__, tmp_path / "out")
    assert (written.samples, written.left_out) == (1, {"image_differs": 1})
    (found,) = read(tmp_path / "out")
    assert Image.open(io.BytesIO(found.image)).format == "JPEG"


def test_same_records_same_bytes(tmp_path: Path):
    def write(name: str) -> dict[str, bytes]:
        out = tmp_path / name
        records = (record("1", f"mat {i:02}", (0, 3)) for i in range(5))
        write_shards(records, lambda _: picture(20, 20), out, shard_size=2)
        files = [*sorted(out.glob("shards/*")), out / "manifest.json"]
        return {path.name: path.read_bytes() for path in files}

    assert write("one") == write("other") and len(write("third")) == 7


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match="name another folder"):
        write_shards([record("1", "a", (0, 1))], {}.__getitem__, tmp_path)
    with pytest.raises(ValueError, match="no record can be used"):
        write_shards([record("1", "a", (0, 1))], {}.__getitem__, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_refcoco_and_visual_genome_to_runs(tmp_path: Path):
    def square(_: str) -> bytes:
        return picture(100, 100)

    records = refcoco.read(*annotation_files.refcoco(tmp_path), exclude=["6"])
    written = write_shards(records, square, tmp_path / "refcoco")
    assert (written.samples, written.left_out) == (3, {"excluded": 1})
    assert list(breaches(Store(tmp_path / "refcoco"))) == []
    regions = visual_genome.read(*annotation_files.visual_genome(tmp_path))
    written = write_shards(regions, square, tmp_path / "vg")
    assert written.samples == 2 and list(breaches(Store(tmp_path / "vg"))) == []


def test_coco_json(tmp_path: Path):
    run = toy_shards.write_run(tmp_path / "run", toy_shards.grounded(20), level="grounded")
    made = coco.write(run, tmp_path / "boxes.json", tmp_path / "images")
    values = json.loads((tmp_path / "boxes.json").read_text())
    known = {each.common.key: each for each in samples(open_grounded(run))}
    assert made.num_images == len(values["images"]) == 20
    assert made.num_annotations == len(values["annotations"])
    assert made.num_annotations == sum(len(e.grounding.noun_chunks) for e in known.values())
    names = {each["id"]: each["name"] for each in values["categories"]}
    assert set(names.values()) <= {"circle", "square", "triangle"}
    images = {each["id"]: each for each in values["images"]}
    for each in values["annotations"]:
        image = images[each["image_id"]]
        rows = known[image["key"]].grounding.noun_chunks
        (row,) = (row for row in rows if list(row.span) == each["span"])
        x, y, width, height = each["bbox"]
        corners = [x / 64, y / 64, (x + width) / 64, (y + height) / 64]
        assert corners == pytest.approx(row.box_xyxy, abs=1e-4)
        assert each["area"] == pytest.approx(width * height, rel=1e-3)
        assert each["text"] == image["caption"][row.start : row.end]
        assert each["text"].endswith(names[each["category_id"]])
    stored = {f"{raw.key}.jpg": raw.images[0] for raw in raw_samples(open_grounded(run))}
    files = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert files == stored and {each["file_name"] for each in images.values()} == set(stored)


def test_only_grounded_runs_are_exported(tmp_path: Path):
    run = toy_shards.write_run(tmp_path / "run", toy_shards.captioned(2))
    with pytest.raises(ValueError, match="level 'image_text'"):
        coco.write(run, tmp_path / "boxes.json")
    assert not (tmp_path / "boxes.json").exists()


def test_a_run_as_a_grit_file(tmp_path: Path):
    run = toy_shards.write_run(tmp_path / "run", toy_shards.grounded(9), level="grounded")
    assert grit.write(samples(open_grounded(run)), tmp_path / "grit.parquet") == 9
    ours = {each.common.key: each for each in samples(open_grounded(run))}
    for row in grit.read(tmp_path / "grit.parquet"):
        assert isinstance(row, grit.GritRecord)
        sample = ours.pop(row.key)
        assert (row.url, row.width) == (sample.common.url, 64)
        assert row.noun_chunks == sample.grounding.noun_chunks
    assert not ours


def test_a_sample_that_breaks_the_contract_is_named(tmp_path: Path):
    (good,) = toy_shards.grounded(1)
    fields = {**good.fields, "noun_chunks": [[0, 9999, 0, 0, 1, 1, 1]]}
    bad = toy_shards.ToySample(good.caption, good.images, fields, good.size_px)
    run = toy_shards.write_run(tmp_path / "run", [bad], level="grounded")
    with pytest.raises(ValueError, match=f"shard 000000, sample {bad.key}: span_outside"):
        list(samples(open_grounded(run)))
