"""One phrases item: the captions of an input shard become phrases.

Goes in: a shard's captions (a run's from its sidecar, an img2dataset folder's from the tar, where
`.txt` has the last word). Comes out: `phrases/N.parquet`, a row for every sample.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from grounding.phrases.extractor import PhraseRules, load_extractor
from pipelines.harness.leases import Running
from shards.access import SampleReader
from shards.dataset import Dataset
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.grounded import Phrase
from shards.reading.sample_error import SampleError
from shards.reading.shard_index import load_index
from shards.schema import PHRASES

STAGE = "phrases"

_BATCH = 2048  # captions that are parsed together


class PhraseOutcome(StrEnum):
    """What became of a caption."""

    WITH_PHRASES = "with_phrases"
    NO_CHUNK = "no_chunk"  # no noun in it
    ALL_DROPPED = "all_dropped"  # pronouns, abstract nouns, no letters
    UNREADABLE = "sample_unreadable"


@dataclass(frozen=True, kw_only=True)
class ShardItem:
    """One input shard."""

    name: str
    shard: int  # number in the dataset
    rows: int  # its samples, of which the first so many are taken

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PhrasesConfig:
    """What a phrases item needs to know."""

    dataset: Dataset
    spacy_model: str
    rules: PhraseRules
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Parse one shard's captions and commit its phrases."""
        item, started_s = ShardItem(**record), time.time()
        extract = load_extractor(self.spacy_model, self.rules)
        rows = [*captions(self.dataset, item)]
        outcomes: Counter[str] = Counter()
        columns: dict[str, list[Any]] = {"key": [], "outcome": [], "phrases": []}
        for first in range(0, len(rows), _BATCH):
            batch = rows[first : first + _BATCH]
            extracted = extract([caption or "" for _, caption in batch])
            for (key, caption), phrases in zip(batch, extracted, strict=True):
                outcome = _outcome(caption, phrases)
                outcomes[outcome] += 1
                columns["key"].append(key)
                columns["outcome"].append(str(outcome))
                columns["phrases"].append([phrase.to_json() for phrase in phrases])
            running.rows_done += len(batch)
        schema = parquet.storage_schema(PHRASES)
        table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
        with Attempt(store, running.item) as attempt:
            parquet.write(attempt.path(f"phrases/{item.name}.parquet"), [table], PHRASES)
            result = {
                "samples": len(rows),
                "outcomes": dict(sorted(outcomes.items())),
                **_yields([phrase for row in columns["phrases"] for phrase in row]),
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))


def captions(dataset: Dataset, item: ShardItem) -> Iterator[tuple[str, str | None]]:
    """Yield key and caption of a shard's samples, in key order; None where one is unreadable."""
    if dataset.kind == "run":
        yield from _of_sidecar(dataset, item)
        return
    reader = SampleReader(dataset)
    places = ((item.shard, row) for row in range(item.rows))
    keys = load_index(dataset, item.shard).keys
    for key, raw in zip(keys[: item.rows], reader.read_many(places), strict=True):
        yield key.as_py(), None if isinstance(raw, SampleError) else _text(raw.text)


def _of_sidecar(dataset: Dataset, item: ShardItem) -> Iterator[tuple[str, str | None]]:
    keys = load_index(dataset, item.shard).keys[: item.rows]
    with dataset.store.open(dataset.sidecar(item.shard)) as file:
        table = parquet.read(file, ["key", "caption"])
    rows = pc.index_in(keys, value_set=table.column("key").combine_chunks())
    in_order = table.column("caption").take(rows)
    for key, caption in zip(keys, in_order, strict=True):
        yield key.as_py(), caption.as_py() or ""


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _outcome(caption: str | None, phrases: Sequence[Phrase]) -> PhraseOutcome:
    if caption is None:
        return PhraseOutcome.UNREADABLE
    if not phrases:
        return PhraseOutcome.NO_CHUNK
    is_any_kept = any(phrase.is_kept for phrase in phrases)
    return PhraseOutcome.WITH_PHRASES if is_any_kept else PhraseOutcome.ALL_DROPPED


def _yields(phrases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many chunks there were, and why those that were dropped were."""
    reasons = Counter(phrase["drop_reason"] for phrase in phrases)
    kept = reasons.pop(None, 0)
    return {"chunks_kept": kept, "chunks_dropped": dict(sorted(reasons.items()))}
