"""The filter and mix stages again: one row at a time, in plain Python, as the design says it.

In: raw rows as `read_rows` gets them from a file (text as bytes). Out: dicts with the columns of
`kept/`, `rejects/` and `plan/`. Slow and obvious on purpose; of the package it uses column names
only, and the verdicts come from `reference_filters`.
"""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from helpers.filters.reference_filters import DEFERRED, REFERENCE
from helpers.shards.reference_identity import choice, identify

from shards.schema import CANONICAL, KEPT, REJECT

Row = dict[str, Any]

SAFETY_RULES = ("nsfw.score", "nsfw.tag")

_LAION = {
    "url": ["URL"],
    "caption": ["TEXT"],
    "width": ["WIDTH"],
    "height": ["HEIGHT"],
    "similarity": ["similarity"],
    "nsfw_tag": ["NSFW"],
    "license": ["LICENSE"],
    "source_key": ["SAMPLE_ID"],
}
_JOINED = {
    **{name: _LAION[name] for name in ("url", "caption", "width", "height", "similarity")},
    "nsfw_score": ["punsafe"],
    "watermark_score": ["pwatermark"],
    "source_key": ["hash"],
}
_COYO = {
    "url": ["url"],
    "caption": ["text"],
    "width": ["width"],
    "height": ["height"],
    "similarity": ["clip_similarity_vitb32"],
    "nsfw_score": ["nsfw_score_opennsfw2", "nsfw_score_gantman"],
    "watermark_score": ["watermark_score"],
    "aesthetic_score": ["aesthetic_score_laion_v2"],
    "source_key": ["id"],
}
COLUMNS: dict[str, dict[str, list[str]]] = {
    "laion400m": _LAION,
    "laion2b_en": _LAION,
    "laion2b_multi": {**_LAION, "language": ["LANGUAGE"]},
    "laion1b_nolang": _LAION,
    "laion2b_en_joined": _JOINED,
    "laion2b_multi_joined": {**_JOINED, "language": ["LANGUAGE"]},
    "laion1b_nolang_joined": _JOINED,
    "coyo700m": _COYO,
    "generic": {"url": ["url"], "caption": ["caption"]},
}
SWAPPED = ("laion2b_en", "laion2b_multi", "laion1b_nolang")
MULTILINGUAL = ("laion2b_multi", "laion1b_nolang", "laion2b_multi_joined", "laion1b_nolang_joined")
RANKS = {
    name: rank
    for rank, name in enumerate(
        [
            *("laion2b_en_joined", "laion2b_multi_joined", "laion1b_nolang_joined", "coyo700m"),
            *("laion2b_en", "laion2b_multi", "laion1b_nolang", "laion400m", "generic"),
        ]
    )
}
_INTEGERS = ("width", "height")
_TEXTS = [f.name for f in CANONICAL if f.type == pa.string()]


# reading


def read_rows(path: Path) -> list[Row]:
    """Read a parquet file, or a TSV file without a header; text comes as bytes."""
    if path.suffix == ".tsv":
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        cells = [line.removesuffix(b"\r").split(b"\t") for line in lines]
        return [{str(i): cell or None for i, cell in enumerate(each)} for each in cells]
    table = pq.read_table(path)
    is_text = {f.name: f.type in (pa.string(), pa.large_string()) for f in table.schema}
    columns = {
        name: table.column(name).cast(pa.large_binary()) if is_text[name] else table.column(name)
        for name in table.column_names
    }
    return pa.table(columns).to_pylist()


# one row


def clean(caption: str | None) -> str | None:
    if caption is None:
        return None
    text = unicodedata.normalize("NFC", html.unescape(caption))
    spaced = (" " if unicodedata.category(c) == "Cc" or c.isspace() else c for c in text)
    return re.sub(" +", " ", "".join(spaced)).strip(" ")


def canonical_row(
    raw: Row, source: str, file: str, row: int, columns: Mapping[str, list[str]] | None = None
) -> Row:
    """Return the canonical and derived columns of a raw row."""
    found: Row = dict.fromkeys(CANONICAL.names)
    for name, actual in (columns or COLUMNS[source]).items():
        found[name] = _highest([_value(raw[each], name) for each in actual])
    invalid = any(found[name] is BAD for name in ("url", "caption"))
    if invalid:
        found["url"] = found["caption"] = None
    found = {name: None if value is BAD else value for name, value in found.items()}
    if source in SWAPPED:
        found["width"], found["height"] = found["height"], found["width"]
    caption_raw = found["caption"]
    found["caption"] = clean(caption_raw)
    found["caption_raw"] = caption_raw if caption_raw != found["caption"] else None
    if "similarity" in (columns or COLUMNS[source]):
        scorer = "mclip-vit-b-32" if source in MULTILINGUAL else "clip-vit-b-32"
        found["similarity_scorer"] = scorer
    found |= {"source": source, "source_file": file, "source_row": row, "invalid_text": invalid}
    return found | identify(found["url"], caption_raw)


BAD = object()
"""Text that is not UTF-8."""


def _value(value: Any, name: str) -> Any:
    if value is None:
        return None
    if name in _TEXTS:
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                return BAD
        return str(int(value)) if value == int(value) else str(value)
    if name in _INTEGERS:
        return int(value) if math.isfinite(value) and -(2**31) <= int(value) < 2**31 else None
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _highest(values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    numbers = [value for value in values if value is not None]
    wrong = [value for value in numbers if math.isnan(value)]
    return (wrong or [max(numbers, default=None)])[0]


# the filter stage


@dataclass
class Filtered:
    """What the filter stage made of the rows."""

    kept: list[Row] = field(default_factory=list)
    rejects: list[Row] = field(default_factory=list)
    tombstones: list[tuple[bytes, str]] = field(default_factory=list)
    verdicts: list[dict[str, str]] = field(default_factory=list)  # per row: rule -> reason


def filter_rows(
    rows: Iterable[Row], parameters: Mapping[str, Mapping[str, Any]] | None = None
) -> Filtered:
    """Judge canonical rows by every rule; the first that fails owns the row."""
    filtered = Filtered()
    for row in rows:
        answers = {
            name: rule(row, **(parameters or {}).get(name, {})) for name, rule in REFERENCE.items()
        }
        failed = {n: a for n, a in answers.items() if a is not None and a != DEFERRED}
        filtered.verdicts.append(failed)
        unsafe = [failed[name] for name in SAFETY_RULES if name in failed]
        if unsafe and row["url_hash"] is not None:
            filtered.tombstones.append((row["url_hash"], unsafe[0]))
        if failed:
            reasons = list(failed.values())
            hidden = {"url": None, "caption": None} if unsafe else {}
            reject = row | {"reason": reasons[0], "reasons": reasons} | hidden
            filtered.rejects.append({name: reject[name] for name in REJECT.names})
        else:
            deferred = [name for name, answer in answers.items() if answer == DEFERRED]
            kept = row | {"deferred": deferred}
            filtered.kept.append({name: kept[name] for name in KEPT.names})
    return filtered


# the mix stage


@dataclass
class Mixed:
    """What the mix stage made of kept rows."""

    shards: list[list[Row]]  # plan rows
    dropped: dict[tuple[str, str, int], tuple[str, str | None]]  # place -> reason, winner's key


def mix(
    kept: Iterable[Row],
    tombstones: Iterable[tuple[bytes, str]],
    *,
    shard_size: int,
    num_buckets: int = 1,
    seed: int = 0,
    safety_scope: str = "url",
    ranks: Mapping[str, int] = RANKS,
) -> Mixed:
    """Keep one row per URL, none that is unsafe anywhere, and cut them into shards."""
    buried = {url_hash for url_hash, _ in tombstones} if safety_scope == "url" else set()
    groups: dict[bytes, list[Row]] = {}
    mixed = Mixed([], {})
    for row in kept:
        if row["url_hash"] in buried:
            mixed.dropped[place(row)] = ("unsafe_elsewhere", None)
        else:
            groups.setdefault(row["url_hash"], []).append(row)
    buckets: list[list[Row]] = [[] for _ in range(num_buckets)]
    for url_hash, group in groups.items():
        best = min(group, key=lambda row: preference(row, ranks))
        for row in group:
            if row is not best:
                mixed.dropped[place(row)] = ("duplicate_url", best["key"])
        buckets[choice("bucket", seed, int.from_bytes(url_hash)) % num_buckets].append(best)
    for rows in buckets:
        rows.sort(key=lambda row: (choice("order", seed, int(row["key"], 16)), row["key"]))
        for start in range(0, len(rows), shard_size):
            shard = sorted(rows[start : start + shard_size], key=lambda row: row["key"])
            mixed.shards.append([row | {"shard_row": i} for i, row in enumerate(shard)])
    return mixed


def preference(row: Row, ranks: Mapping[str, int]) -> tuple[Any, ...]:
    score = row["similarity"]
    scored = score is not None and not math.isnan(score)
    content = [
        repr(value)
        for name, value in row.items()
        if name not in ("url_hash", "source", "source_file", "source_row")
    ]
    return (
        ranks[row["source"]],
        row["similarity_scorer"] is None,
        row["similarity_scorer"] or "",
        -score if scored else math.inf,
        row["key"],
        xxhash.xxh3_128_hexdigest(json.dumps(content).encode()),
        row["source_file"],
        row["source_row"],
    )


def place(row: Row) -> tuple[str, str, int]:
    """Return where a row came from, which names it."""
    return row["source"], row["source_file"], row["source_row"]
