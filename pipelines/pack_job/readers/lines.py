"""JSON lines, JSON arrays and whole JSON files of records; what is not a record gets a reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.pack_job.reading import Unit
from pipelines.pack_job.records import Bad, BadRecordError, Record

Raw = Mapping[str, Any]


def json_lines(unit: Unit) -> Iterator[tuple[int, Raw | Bad]]:
    """Yield number (from 0) and object of every line that is not blank; decompressed by ending."""
    from pipelines.metadata.files import open_text

    left = unit.count
    with open_text(unit.path) as file:
        if unit.first:
            file.seek(unit.first)
        for row, line in enumerate(file, start=unit.first_row):
            if line.strip():
                yield row, _object(line)
            if left is not None and (left := left - len(line)) <= 0:
                return


def json_array(path: str) -> Iterator[tuple[int, Raw | Bad]]:
    """Yield number and object of every element of an array; memory holds one at a time.

    Raises:
        ValueError: The file is not a JSON array.
    """
    from grounding.annotated.visual_genome import elements

    for row, value in enumerate(elements(path)):
        yield row, value if isinstance(value, dict) else _not_an_object(value)


def rows(unit: Unit) -> Iterator[tuple[int, Raw | Bad]]:
    """Yield the records of a file: parquet, a JSON array (`.json`), or JSON lines."""
    if unit.path.endswith(".parquet"):
        return enumerate(_parquet(unit.path))
    return json_array(unit.path) if unit.path.endswith(".json") else json_lines(unit)


def whole(path: str | os.PathLike[str]) -> Any:
    """Return a JSON file that is read at once.

    Raises:
        ValueError: It is missing or not JSON.
    """
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: there is no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not JSON ({error})") from error


def listed(values: Any, name: str, path: str, wanted: str) -> list[Raw]:
    """Return the list of objects under a name of a whole file; `wanted` says what to give.

    Raises:
        ValueError: There is no such list.
    """
    objects = values.get(name) if isinstance(values, dict) else None
    if not isinstance(objects, list) or not all(isinstance(value, dict) for value in objects):
        raise ValueError(f"{path}: no list {name!r} in it; {wanted}")
    return objects


def by_id(path: str, wanted: str) -> list[Raw]:
    """Return the objects of a file `{id: object}`, each with its `id` and its `row`.

    Raises:
        ValueError: It is another file; `wanted` says what to give.
    """
    values = whole(path)
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise ValueError(f"{path}: no objects by their ids; {wanted}")
    return [{**value, "id": name, "row": row} for row, (name, value) in enumerate(values.items())]


def tried(
    numbered: Iterator[tuple[int, Raw | Bad]], make: Callable[[int, Raw], Record]
) -> Iterator[Record | Bad]:
    """Yield what `make` makes of every row, or why it cannot."""
    for row, raw in numbered:
        if isinstance(raw, Bad):
            yield raw
            continue
        try:
            yield make(row, raw)
        except BadRecordError as error:
            yield Bad(error.reason, error.detail)


def _object(line: bytes) -> Raw | Bad:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Bad("json_damaged", f"{type(error).__name__}: {error}")
    return value if isinstance(value, dict) else _not_an_object(value)


def _not_an_object(value: Any) -> Bad:
    return Bad("record_malformed", f"a {type(value).__name__} where an object belongs")


def _parquet(path: str) -> Iterator[Raw]:
    import pyarrow.parquet as pq

    from pipelines.metadata.filesystems import open_input

    with open_input(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256):
            yield from batch.to_pylist()
