"""What each stage of a packing job is set to do, and the fingerprint that says so.

Goes in: parsed options. Comes out: the checked request, with one settings value and one
fingerprint per stage. Nothing is read but the input's bytes, for their sha256.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.download_job.request import StoreRequest, store_spec
from pipelines.harness.buckets import num_buckets
from pipelines.harness.fingerprint import Fingerprint, fingerprint
from pipelines.pack_job import units
from pipelines.pack_job.format import Format
from pipelines.pack_job.formats import FORMATS
from pipelines.pack_job.images import Images, check_places
from pipelines.pack_job.mix import MixConfig
from pipelines.pack_job.options import SET_OPTIONS, STORE_OPTIONS
from pipelines.pack_job.read import ReadConfig, ReadItem
from pipelines.pack_job.readers.own_boxes import BOX_FORMATS
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.shard import PackConfig
from shards.files.store import Store
from shards.image import StoreSpec
from shards.suggest import suggest

_MOST_PARTS = 16  # items that each read a whole file
BUCKET_BYTES = 1 << 30
_LIBRARIES = ("pyarrow", "numpy", "xxhash")
_IMAGE_LIBRARIES = ("Pillow", "simplejpeg")
_BY_CONTENT = frozenset({"input", "annotations", "exclude", "images"})
_MIX = frozenset({"seed", "shard_size"})


@dataclass(frozen=True, kw_only=True)
class Request:
    """A packing job's command line, checked."""

    format: Format
    units: tuple[Unit, ...]
    read: ReadConfig
    mix: MixConfig
    pack: PackConfig
    fingerprint: Fingerprint  # of the read stage
    options: dict[str, Any]  # that change the output, as `run.json` keeps them

    @property
    def spec(self) -> StoreSpec:
        """How images are stored."""
        return self.pack.spec

    def read_items(self) -> Iterator[ReadItem]:
        """Yield the items of the first stage."""
        for number, unit in enumerate(self.units):
            uncut = unit.count is None
            parts = min(1 + unit.size // units.PART_BYTES, _MOST_PARTS) if uncut else 1
            for part in range(parts):
                name = f"{number:05d}-{part:04d}"
                yield ReadItem(name=name, unit=unit, number=number, part=part, parts=parts)

    def mix_fingerprint(self, previous: str) -> Fingerprint:
        """Return the mix stage's fingerprint."""
        return fingerprint(
            "mix",
            previous=("read", previous),
            options={name: self.options[name] for name in _MIX},
            data={},
            libraries=_LIBRARIES,
        )

    def pack_fingerprint(self, previous: str) -> Fingerprint:
        """Return the pack stage's fingerprint."""
        return fingerprint(
            "pack",
            previous=("mix", previous),
            options={option.name: self.options[option.name] for option in STORE_OPTIONS},
            data={},
            libraries=(*_LIBRARIES, *_IMAGE_LIBRARIES),
        )


def request(values: argparse.Namespace) -> Request:
    """Check a command line.

    Raises:
        ValueError: Something is missing, contradicts something else, or is not there.
    """
    form = _format(values)
    excluded = _exclude(values, form)
    _check_options(values, form)
    # Items name these files; another launcher may stand in another folder.
    inputs = [os.path.abspath(path) for path in values.input]
    parts = units.units(inputs, form, values.limit)
    images = Images(_places(values, form))
    options = ReadOptions(
        source=values.source or form.name,
        images=images,
        image_pattern=values.image_pattern,
        annotations=values.annotations and os.path.abspath(values.annotations),
        split=values.split,
        box_format=values.box_format,
        document_mode=values.document_mode,
        regions_per_sample=values.regions_per_sample,
        exclude=excluded,
    )
    counted = {o.name: getattr(values, o.name) for o in SET_OPTIONS if o.name not in _BY_CONTENT}
    data: dict[str, Any] = {f"input {unit.name} {unit.first}": unit.identity for unit in parts}
    for name in ("annotations", "exclude"):
        path = getattr(values, name)
        data[name] = units.file_sha256(path) if path else None
    size = sum(unit.size for unit in parts)
    return Request(
        format=form,
        units=tuple(parts),
        read=ReadConfig(
            format=form.name,
            options=options,
            max_images=values.max_images,
            limit=values.limit,
            num_buckets=num_buckets(size + 1, BUCKET_BYTES),  # a full bucket is one too full
        ),
        mix=MixConfig(seed=values.seed, shard_size=values.shard_size),
        pack=PackConfig(images=images, spec=store_spec(StoreRequest.of(vars(values)))),
        fingerprint=fingerprint(
            "read",
            previous=None,
            options={name: value for name, value in counted.items() if name not in _MIX},
            data=data,
            libraries=_LIBRARIES,
        ),
        options={o.name: getattr(values, o.name) for o in (*SET_OPTIONS, *STORE_OPTIONS)},
    )


def check_output(store: Store, request: Request) -> None:
    """Check that the output holds nothing that is read.

    Raises:
        ValueError: A file that is read lies in it.
    """
    for path in (*(unit.path for unit in request.units), *request.pack.images.places):
        if Store(path).root.startswith(f"{store.root}/") or Store(path).root == store.root:
            raise ValueError(f"{path} lies in --output {store.root}; give another --output")


def _format(values: argparse.Namespace) -> Format:
    if values.format not in FORMATS:
        if not values.format:
            raise ValueError(f"--format is missing; give one of {', '.join(FORMATS)}")
        hint = suggest(values.format, FORMATS)
        raise ValueError(f"--format {values.format}: there is no such format; {hint}")
    return FORMATS[values.format]


def _exclude(values: argparse.Namespace, form: Format) -> frozenset[str]:
    """Return the ids of images to leave out.

    Raises:
        ValueError: The set has COCO's images and nothing says what to do about it.
    """
    if values.exclude and not form.ids:
        raise ValueError(
            f"--exclude: {form.name} has new numbers for COCO's images, so no list of ids fits; "
            "give --allow_eval_overlap to take it as it is"
        )
    if form.coco and not values.exclude and not values.allow_eval_overlap:
        ways = "--exclude FILE with the ids of images in your test sets" if form.ids else ""
        raise ValueError(
            f"--format {form.name}: its images are from COCO, as are those of RefCOCO, VQA and "
            f"caption benchmarks, so a model could be tested on what it was trained on; "
            f"give {ways}{' or ' if ways else ''}--allow_eval_overlap"
        )
    if not values.exclude:
        return frozenset()
    _there("exclude", values.exclude)
    lines = Path(values.exclude).read_text(encoding="utf-8", errors="replace").split()
    return frozenset(str(int(line)) if line.isdecimal() else line for line in lines)


def _check_options(values: argparse.Namespace, form: Format) -> None:
    if (form.annotations is None) != (values.annotations is None):
        what = f"needs it: {form.annotations}" if form.annotations else "has no such file"
        raise ValueError(f"--annotations: --format {form.name} {what}")
    if values.annotations:
        _there("annotations", values.annotations)
    if form.box_format and values.box_format is None:
        raise ValueError(
            f"--box_format is missing: say what the numbers are, {', '.join(BOX_FORMATS)}; "
            "it is never guessed"
        )
    if values.box_format is not None and not form.box_format:
        takers = " or ".join(form.name for form in FORMATS.values() if form.box_format)
        raise ValueError(f"--box_format is for --format {takers}; {form.name} has its own")
    if values.image_pattern:
        try:
            values.image_pattern.format("1")
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(
                f"--image_pattern {values.image_pattern!r}: {error}; give one like {{:0>12}}.jpg"
            ) from error


def _places(values: argparse.Namespace, form: Format) -> tuple[str, ...]:
    places: Sequence[str] = values.images
    if not places and form.images_of is not None:
        places = form.images_of(values.input)
    if form.level == "text":
        if places:
            raise ValueError(f"--images: {form.name} has no images; leave the option out")
        return ()
    if not places:
        raise ValueError("--images is missing; give the folder or the .tar that holds them")
    check_places(places)
    absolute = [place if "://" in place else os.path.abspath(place) for place in places]
    return tuple(dict.fromkeys(absolute))


def _there(name: str, path: str) -> None:
    if not Path(path).is_file():
        raise ValueError(f"--{name} {path}: there is no such file")
