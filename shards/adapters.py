"""A run in other people's loaders: `webdataset` pipelines and Hugging Face `datasets`.

Goes in: a run, `OUT@NAME` or an img2dataset folder, in any store. Comes out: the library's own
iterable, split over nodes and workers by whole shards, with the selection applied. A sample that
cannot be read raises `SampleError`. The libraries are imported where they are used.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from random import Random
from typing import Any

from shards import layout
from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import Dataset, open_dataset
from shards.sample import FLOAT_FIELDS, ImageSample

_IMG2DATASET_FIELDS = {
    "url": "string",
    "status": "string",
    "error_message": "string",
    "width": "int64",
    "height": "int64",
    "original_width": "int64",
    "original_height": "int64",
    "exif": "string",
    "sha256": "string",
}


def webdataset(run: str | os.PathLike[str], *, shuffle_shards: int | None = None) -> Any:
    """Return a `webdataset` pipeline of raw samples: `__key__`, `__url__`, `jpg`, `txt`, `json`.

    Args:
        run: What to read.
        shuffle_shards: Seed of the order of the shards; None for the manifest's. Every iteration
            in one process has another order (a DataLoader with workers needs
            `persistent_workers=True` for that). Samples keep their order within a shard.

    Raises:
        ValueError: There is nothing to read, or the library is not installed.
    """
    wds = _library("webdataset")
    from shards.reading.webdataset_pipeline import SamplePipeline

    dataset = open_dataset(run)
    count = len(dataset.shards)
    shuffle = None
    if shuffle_shards is not None:
        # Before the split, so that all nodes and workers cut the same order.
        # The library adds the number of the epoch: seeds far apart keep orders apart.
        seed = Random(shuffle_shards).getrandbits(48)
        shuffle = wds.detshuffle(bufsize=count, initial=count, seed=seed)
    return SamplePipeline(
        partial(_numbers, count),
        shuffle,
        wds.split_by_node,
        wds.split_by_worker,
        partial(_webdataset_samples, SampleReader(dataset)),
    )


def _numbers(count: int) -> Iterator[int]:
    return iter(range(count))


def _webdataset_samples(reader: SampleReader, shards: Iterable[int]) -> Iterator[dict[str, Any]]:
    dataset = reader.dataset
    for sample in _read(reader, shards):
        yield {
            "__key__": sample.key,
            "__url__": dataset.store.url(layout.tar_name(dataset.kind, sample.shard)),
            **dict(zip(sample.extensions, sample.images, strict=True)),
            "txt": sample.text,
            "json": sample.json,
        }


def huggingface(run: str | os.PathLike[str]) -> Any:
    """Return a streaming Hugging Face `datasets.IterableDataset`.

    Columns are `key`, `image` (`images` where a sample may have several, neither for texts),
    `caption` and the other fields of the JSON, all declared. It has as many shards as the run.

    Raises:
        ValueError: There is nothing to read, or the library is not installed.
    """
    hf = _library("datasets")
    dataset = open_dataset(run)
    return hf.IterableDataset.from_generator(
        _huggingface_rows,
        features=_features(hf, dataset),
        # Lists are what the library splits over nodes and workers.
        gen_kwargs={"dataset": dataset, "shards": list(range(len(dataset.shards)))},
    )


def _huggingface_rows(dataset: Dataset, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    declared = [*_field_types(dataset), *_level_fields(dataset.level)]
    for sample in _read(SampleReader(dataset), shards):
        values = sample.fields()
        images = [{"bytes": data, "path": None} for data in sample.images]
        yield {
            "key": sample.key,
            **_image_column(dataset.level, images),
            "caption": sample.text.decode(),
            **{name: values.get(name) for name in declared},
        }


def _image_column(level: str, images: Sequence[Any]) -> dict[str, Any]:
    if level == "text":
        return {}
    return {"images": images} if level in ("dialogue", "document") else {"image": images[0]}


def _features(hf: Any, dataset: Dataset) -> Any:
    image = hf.Image()
    columns = {
        "key": hf.Value("string"),
        **_image_column(dataset.level, [image]),
        "caption": hf.Value("string"),
        **{name: hf.Value(kind) for name, kind in _field_types(dataset).items()},
        **{name: _nested(hf, kind) for name, kind in _level_fields(dataset.level).items()},
    }
    return hf.Features(columns)


def _field_types(dataset: Dataset) -> Mapping[str, str]:
    """Return the types of the JSON's common fields, without those that have their own column."""
    if dataset.kind == "img2dataset":
        return _IMG2DATASET_FIELDS
    types = {}
    for field in fields(ImageSample):
        whole = "int64" if str(field.type).startswith("int") else "string"
        types[field.name] = "float64" if field.name in FLOAT_FIELDS else whole
    return {name: kind for name, kind in types.items() if name not in ("key", "caption")}


def _level_fields(level: str) -> Mapping[str, Any]:
    """Return what a level adds to the JSON; a list holds the type of its elements."""
    phrase = dict.fromkeys(("start", "end", "head_start", "head_end"), "int64")
    phrase |= dict.fromkeys(("head_lemma", "root_pos", "drop_reason"), "string")
    phrase |= dict.fromkeys(("expr_start", "expr_end"), "int64")
    added: dict[str, dict[str, Any]] = {
        "grounded": {
            "noun_chunks": [["float64"]],
            "ref_exps": [["float64"]],
            "phrases": [phrase],
        },
        "dialogue": {
            "conversations": [{"role": "string", "content": "string", "boxes": [[["float64"]]]}]
        },
        "document": {"items": [{"text": "string", "image": "int64"}]},
    }
    return added.get(level, {})


def _nested(hf: Any, kind: Any) -> Any:
    if isinstance(kind, list):
        return [_nested(hf, kind[0])]
    if isinstance(kind, dict):
        return {name: _nested(hf, each) for name, each in kind.items()}
    return hf.Value(kind)


def _read(reader: SampleReader, shards: Iterable[int]) -> Iterator[RawSample]:
    counts = reader.dataset.counts
    for raw in reader.read_many((shard, row) for shard in shards for row in range(counts[shard])):
        if isinstance(raw, SampleError):
            raise raw
        yield raw


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"this needs the package {name}; type: pip install {name}") from error
