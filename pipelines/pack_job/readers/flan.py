"""Instructions without images, as JSON lines: `inputs` and `targets`, or `instruction`, `output`.

Goes in: lines, compressed or not. Comes out: a record per line, question and answer as one text.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.pack_job.format import LINES, Format
from pipelines.pack_job.readers.lines import Raw, rows, tried
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, BadRecordError, Origin, Record, plain_text, text_of


def flan(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a file of instructions; `input` of an instruction stands between it and the output."""

    def make(row: int, raw: Raw) -> Record:
        origin = Origin(source=options.source, source_file=unit.name, source_row=row)
        if "targets" in raw:
            asked, answer = [text_of(raw, "inputs")], text_of(raw, "targets")
        else:
            asked, answer = [text_of(raw, "instruction")], text_of(raw, "output")
            asked += [text_of(raw, "input")] if raw.get("input") else []
        if not answer.strip():
            raise BadRecordError("empty_answer", "an instruction without an answer")
        return plain_text(origin, "\n".join([*asked, answer]))

    return tried(rows(unit), make)


FORMATS = (
    Format(
        name="flan",
        level="text",
        reader=flan,
        about="lines of `inputs`, `targets`, or `instruction`, `input`, `output`",
        endings=LINES,
    ),
)
