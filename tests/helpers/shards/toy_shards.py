"""Small shard sets of every level, written as a real run: tars, sidecars with offsets, manifest.

`captioned`, `grounded`, `dialogues`, `documents` and `texts` make samples out of rendered
scenes, the same for the same seed; `write_run` puts any list of samples into a run directory
and `select` makes a selection of it.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from examples.scenes import Scene, scene
from shards import manifest, selection
from shards.files import parquet
from shards.files.store import Store
from shards.files.tar import TarWriter
from shards.identity import canonical_urls, keys
from shards.image import PROFILES, encode
from shards.manifest import Manifest, ShardEntry
from shards.outcomes import Outcome, img2dataset_status
from shards.sample import ImageSample, encode_json
from shards.schema import LEVELS, SIDECAR


@dataclass(frozen=True)
class ToySample:
    """One sample before it is written."""

    caption: str  # content of .txt
    images: tuple[bytes, ...] = ()  # JPEG files
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the JSON, besides the common ones
    size_px: tuple[int, int] | None = None  # width and height of the only image

    @property
    def url(self) -> str:
        """A made-up address, another for every sample."""
        parts = (self.caption.encode(), *self.images, json.dumps(self.fields).encode())
        return f"https://toy.example/{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.jpg"

    @property
    def key(self) -> str:
        """The contract's key of the address and the caption."""
        return _key(self.url, self.caption)


def captioned(n: int, seed: int = 0, size: int = 64) -> list[ToySample]:
    """Return image_text samples: a scene of coloured shapes and the words for it."""
    return [_pictured(made) for made in _scenes(n, seed, size)]


def grounded(n: int, seed: int = 0, size: int = 64) -> list[ToySample]:
    """Return grounded samples: every shape's phrase has its box; the ground's has none."""
    samples = []
    for made in _scenes(n, seed, size):
        rows, phrases = [], []
        for shape in made.shapes:
            start = made.caption.index(shape.phrase)
            end = start + len(shape.phrase)
            rows.append([start, end, *_box(shape.box_xyxy_px, size), 0.9])
            phrases.append(_phrase(made.caption, start, end, None))
        start = made.caption.index(" on ") + 4
        phrases.append(_phrase(made.caption, start, made.caption.index(","), "no_box"))
        fields = {"noun_chunks": rows, "ref_exps": rows, "phrases": phrases}
        samples.append(_pictured(made, fields))
    return samples


def dialogues(n: int, seed: int = 0, size: int = 64) -> list[ToySample]:
    """Return dialogue samples: three with one image and boxes, then one that compares two."""
    samples = []
    made = list(_scenes(n + 1, seed, size))
    for number, (one, other) in enumerate(itertools.pairwise(made)):
        shape = one.shapes[0]
        turns = [
            _turn("user", "What is in the picture?"),
            _turn("assistant", one.caption),
            _turn("user", f"Where is {shape.phrase}?"),
            _turn("assistant", "<boxes>", [[_box(shape.box_xyxy_px, size)]]),
        ]
        if number % 4 == 3:
            turns = [
                _turn("user", "<image> and <image>: what do they show?"),
                _turn("assistant", f"{one.caption}; {other.caption}"),
            ]
            images = (_jpeg(one), _jpeg(other))
            samples.append(ToySample(one.caption, images, {"conversations": turns}))
        else:
            samples.append(_pictured(one, {"conversations": turns}))
    return samples


def documents(n: int, seed: int = 0, size: int = 64) -> list[ToySample]:
    """Return documents of one to three images between their texts."""
    samples = []
    for number, first in enumerate(_scenes(n, seed, size)):
        pictured = [first, *_scenes(number % 3, seed + 1000 * (number + 1), size)]
        items: list[dict[str, Any]] = [{"text": f"Page {number} of a book of shapes."}]
        for index, each in enumerate(pictured):
            items += [{"image": index}, {"text": each.caption}]
        text = "\n".join(item["text"] for item in items if "text" in item)
        images = tuple(_jpeg(each) for each in pictured)
        one_size = (size, size) if len(images) == 1 else None
        samples.append(ToySample(text, images, {"items": items}, one_size))
    return samples


def texts(n: int, seed: int = 0) -> list[ToySample]:
    """Return samples without an image."""
    return [ToySample(f"Imagine {each.caption}.") for each in _scenes(n, seed, 64)]


def write_run(
    folder: str | Path,
    samples: Sequence[ToySample],
    *,
    level: str = "image_text",
    shard_size: int = 8,
    uneven: bool = False,
) -> Path:
    """Write a finished run directory and return its path.

    Args:
        folder: Where; created.
        samples: In any order. Shards take them in the order given, and sort by key inside.
        level: What the samples hold.
        shard_size: Samples per shard.
        uneven: Make shards of different sizes, an empty one among them, each with a row that
            could not be downloaded.
    """
    store = Store(folder)
    entries = [
        _write_shard(store, f"{number:06d}", part, failed=uneven)
        for number, part in enumerate(_cut(samples, shard_size, uneven))
    ]
    planned = sum(entry.planned for entry in entries)
    failed = planned - len(samples)
    line = {"in": planned, "out": len(samples), "left_out": {"http_not_found": failed}}
    manifest.write(
        store,
        Manifest(
            stage="download",
            extension="jpg",
            counts={"download": line},
            fingerprints={"download": hashlib.sha256(repr(entries).encode()).hexdigest()},
            shards=tuple(entries),
            level=level,
        ),
    )
    return Path(folder)


BY_LEVEL = dict(zip(LEVELS, (captioned, grounded, dialogues, documents, texts), strict=True))


def select(run: str | Path, name: str = "half", every: int = 2) -> selection.Selection:
    """Write and finish a selection that keeps every second planned row, say."""
    store = Store(run)
    for shard in manifest.read(store).shards:
        selection.write(store, name, shard.name, decisions(store, shard.name, every))
    return selection.finish(store, name)


def decisions(store: Store, shard: str, every: int = 2) -> pa.Table:
    """Return what `select` decides about a shard."""
    with store.open(f"shards/{shard}.parquet") as file:
        keys = pq.ParquetFile(file).read(["key"]).column("key").to_pylist()
    keep = [number % every == 0 for number in range(len(keys))]
    return pa.table({"key": keys, "keep": keep, "reason": [None if k else "odd" for k in keep]})


def _cut(
    samples: Sequence[ToySample], shard_size: int, uneven: bool
) -> Iterator[Sequence[ToySample]]:
    sizes = itertools.cycle((shard_size, 1, 0, (shard_size + 1) // 2) if uneven else (shard_size,))
    start = 0
    while start < len(samples):
        size = next(sizes)
        yield samples[start : start + size]
        start += size


def _write_shard(
    store: Store, name: str, samples: Sequence[ToySample], *, failed: bool
) -> ShardEntry:
    buffer = io.BytesIO()
    tar = TarWriter(buffer)
    rows = []
    for sample in sorted(samples, key=lambda each: each.key):
        offset, size = tar.add(sample.key, _members(sample))
        rows.append({**_row(_common(sample)), "tar_offset": offset, "tar_size": size})
    tar.close()
    if failed:
        lost = ToySample(f"what shard {name} never got")
        rows.append(_row(_common(lost), Outcome.HTTP_NOT_FOUND))
    rows.sort(key=lambda row: row["key"])
    entry = ShardEntry(name, 0, len(rows), len(samples), 0, "", 0, "")
    store.write(entry.tar, buffer.getvalue())
    schema = parquet.storage_schema(SIDECAR)
    with tempfile.NamedTemporaryFile() as file:
        parquet.write(file.name, [pa.Table.from_pylist(rows, schema)], SIDECAR)
        sidecar = Path(file.name).read_bytes()
    store.write(entry.sidecar, sidecar)
    sums = [hashlib.sha256(data).hexdigest() for data in (buffer.getvalue(), sidecar)]
    sizes = len(buffer.getvalue()), len(sidecar)
    return ShardEntry(name, 0, len(rows), len(samples), sizes[0], sums[0], sizes[1], sums[1])


def _members(sample: ToySample) -> dict[str, bytes]:
    several = len(sample.images) > 1
    found = {f"{i}.jpg" if several else "jpg": data for i, data in enumerate(sample.images)}
    values = {**json.loads(encode_json(_common(sample))), **sample.fields}
    if sample.size_px is None:
        values |= dict.fromkeys(("width", "height", "original_width", "original_height"))
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return {**found, "txt": sample.caption.encode(), "json": text.encode()}


def _row(sample: ImageSample, outcome: Outcome = Outcome.SUCCESS) -> dict[str, Any]:
    values = {name: getattr(sample, name, None) for name in SIDECAR.names}
    return {**values, "status": img2dataset_status(outcome), "outcome": str(outcome)}


def _common(sample: ToySample) -> ImageSample:
    width, height = sample.size_px or (0, 0)
    return ImageSample(
        key=sample.key,
        url=sample.url,
        caption=sample.caption,
        caption_raw=None,
        width=width,
        height=height,
        original_width=width,
        original_height=height,
        sha256=hashlib.sha256(b"".join(sample.images)).hexdigest(),
        similarity=0.3,
        similarity_scorer="toy",
        nsfw_score=None,
        nsfw_tag=None,
        watermark_score=None,
        aesthetic_score=None,
        language="en",
        license=None,
        source="toy",
        source_file="toy.parquet",
        source_row=0,
        source_key=None,
    )


def _key(url: str, caption: str) -> str:
    urls = pa.array([url], pa.string())
    return str(keys(urls, canonical_urls(urls), pa.array([caption], pa.string()))[0])


def _scenes(n: int, seed: int, size: int) -> Iterator[Scene]:
    return (scene(seed + number, (size, size)) for number in range(n))


def _pictured(made: Scene, fields: Mapping[str, Any] | None = None) -> ToySample:
    return ToySample(made.caption, (_jpeg(made),), fields or {}, made.size_px)


def _jpeg(made: Scene) -> bytes:
    return encode(np.asarray(made.image()), PROFILES["stage2"])


def _box(box_xyxy_px: Sequence[int], size_px: int) -> list[float]:
    return [round(side / size_px, 4) for side in box_xyxy_px]


def _phrase(caption: str, start: int, end: int, drop_reason: str | None) -> dict[str, Any]:
    head_start = start + caption[start:end].rfind(" ") + 1
    return {
        "start": start,
        "end": end,
        "head_start": head_start,
        "head_end": end,
        "head_lemma": caption[head_start:end],
        "root_pos": "NOUN",
        "drop_reason": drop_reason,
        "expr_start": start,
        "expr_end": end,
    }


def _turn(
    role: str, content: str, boxes: Sequence[Sequence[Sequence[float]]] | None = None
) -> dict[str, Any]:
    turn = {"role": role, "content": content}
    return turn if boxes is None else {**turn, "boxes": boxes}
