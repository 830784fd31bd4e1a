"""The dataset card: `README.md` beside the shards, with the features declared in full.

`datasets.load_dataset(RUN)` opens a run by this card. Without declared features a field
that is null in the first rows breaks it, and without `data_files` the parquet and JSON
files beside the tars win its guess.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from shards.grounded import Phrase
from shards.manifest import Manifest
from shards.sample import FLOAT_FIELDS, ImageSample

_MOST_IMAGES = 6  # of a sample that are declared; a loader that goes by the card sees no more

_FETCHED = (
    "The images belong to their owners and the captions are as the web had them. Opt-out "
    "headers were honoured unless the run says otherwise (`run.json`). Filters by score and "
    "word list make mistakes, and remove some groups' content more often than others'."
)
_PACKED = (
    "Images and annotations belong to their owners: the terms of the set that this was made of "
    "hold for it (`run.json` says which files)."
)

_TITLES = {"dialogue": "Dialogue", "document": "Document", "text": "Text"}  # others: Image-text

_FEATURES = {"int": "int64", "int | None": "int64", "str": "string", "str | None": "string"}


def render(manifest: Manifest) -> str:
    """Return the card of a finished run."""
    return "\n".join([*_front_matter(manifest), "", *_body(manifest), ""])


def _front_matter(manifest: Manifest) -> list[str]:
    return [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: shards/*.tar",
        "dataset_info:",
        "  features:",
        *[line for name in _images(manifest) for line in _feature(name, "image")],
        *_feature("txt", "string"),
        "  - name: json",
        "    struct:",
        *[
            f"  {line}"
            for field in fields(ImageSample)
            for line in _json_feature(field.name, field.type)
        ],
        *[f"  {line}" for line in _level(manifest)],
        *_feature("__key__", "string"),
        *_feature("__url__", "string"),
        "  splits:",
        "  - name: train",
        f"    num_examples: {manifest.samples}",
        "---",
    ]


def _images(manifest: Manifest) -> list[str]:
    """Return the names of the image columns; those that a sample has not are null."""
    extension = manifest.extension or "jpg"
    if manifest.level == "text":
        return []
    if manifest.level in ("dialogue", "document"):
        return [extension, *(f"{number}.{extension}" for number in range(_MOST_IMAGES))]
    return [extension]


def _level(manifest: Manifest) -> list[str]:
    """Return the features that the JSON of a level's samples has besides."""
    packed = manifest.stage == "pack" and manifest.level != "text"
    more = _feature("image_id", "string") if packed else []
    if manifest.level == "grounded":
        return [*_grounding(), *more]
    if manifest.level == "dialogue":
        return [*_conversations(), *more]
    if manifest.level == "document":
        return [*_list("items", _feature("text", "string"), _feature("image", "int64")), *more]
    return more


def _conversations() -> list[str]:
    boxes = ["  - name: boxes", "    list:", "      list:", "        list: float64"]
    turns = _list("conversations", _feature("role", "string"), _feature("content", "string"), boxes)
    texts = [(f"  - name: {name}", "    list: string") for name in ("answers", "choices")]
    return [*turns, *(line for text in texts for line in text)]


def _list(name: str, *features: list[str]) -> list[str]:
    """Return the feature of a list of objects."""
    inner = [f"  {line}" for feature in features for line in feature]
    return [f"  - name: {name}", "    list:", *inner]


def _grounding() -> list[str]:
    """Return the features that a grounded sample's JSON has besides."""
    rows = [line for name in ("noun_chunks", "ref_exps") for line in _rows_of_floats(name)]
    phrase = [
        line
        for field in fields(Phrase)
        for line in _feature(field.name, _FEATURES[str(field.type)])
    ]
    return [
        *_list("phrases", phrase),
        *rows,
        *_feature("detector", "string"),
        *_feature("score_threshold", "float64"),
    ]


def _rows_of_floats(name: str) -> list[str]:
    return [f"  - name: {name}", "    list:", "      list: float64"]


def _feature(name: str, kind: str) -> list[str]:
    return [f"  - name: {name}", f"    dtype: {kind}"]


def _json_feature(name: str, annotation: Any) -> list[str]:
    return _feature(name, "float64" if name in FLOAT_FIELDS else _FEATURES[str(annotation)])


def _body(manifest: Manifest) -> list[str]:
    counts = manifest.counts
    lines = [
        f"# {_TITLES.get(manifest.level, 'Image-text')} shards",
        "",
        f"{manifest.samples:,} samples in {len(manifest.shards):,} webdataset shards: "
        f"{_members(manifest)}`<key>.txt`, `<key>.json`.",
        f"Contract version {manifest.contract_version}. Written by Groundwork.",
        "",
        "| stage | in | out | left out |",
        "|---|---|---|---|",
    ]
    for stage, line in counts.items():
        left_out = ", ".join(
            f"{name} {count:,}" for name, count in line["left_out"].items() if count
        )
        lines.append(f"| {stage} | {line['in']:,} | {line['out']:,} | {left_out or 'none'} |")
    lines += [
        "",
        _PACKED if manifest.stage == "pack" else _FETCHED,
        "",
        "```python",
        "import datasets",
        'dataset = datasets.load_dataset("PATH/TO/THIS/FOLDER", split="train", streaming=True)',
        "```",
    ]
    return lines


def _members(manifest: Manifest) -> str:
    """Return what of a sample stands before its text."""
    extension = manifest.extension or "jpg"
    if manifest.level == "text":
        return ""
    if manifest.level in ("dialogue", "document"):
        return f"`<key>.{extension}` (several: `<key>.0.{extension}`, …; or none), "
    return f"`<key>.{extension}`, "
