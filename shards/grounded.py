"""The grounded record: which words of a caption have which boxes.

Goes in: the JSON of a sample of level `grounded`, or rows of another file of the same form. Comes
out: typed records that have been checked, or `BadGroundingError`; and the same JSON again. Every
reader of boxes goes through here, so that all of them refuse the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from shards.access import RawSample
    from shards.sample import ImageSample

Span = tuple[int, int]
"""Code points of a caption, end-exclusive."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in 0..1 of the image."""

EDGE = 1e-6
"""How far beyond 0..1 rounding may put a side or a score."""

_HUGE = 1e9  # no offset, side or score is that large; keeps whole numbers from overflowing a float


class BadGroundingError(ValueError):
    """A record that cannot be used; `reason` is counted, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BadGroundingError], tuple[str, str]]:
        return BadGroundingError, (self.reason, self.detail)


class BoxRow(NamedTuple):
    """A row of `noun_chunks` or `ref_exps`: one box of one phrase."""

    start: int  # code points of the caption, end-exclusive
    end: int
    x0: float  # 0..1 of the image
    y0: float
    x1: float
    y1: float
    score: float  # 0..1; of annotated boxes 1

    @property
    def span(self) -> Span:
        """The phrase's place in the caption."""
        return self.start, self.end

    @property
    def box_xyxy(self) -> Box:
        """The box alone."""
        return self.x0, self.y0, self.x1, self.y1

    @staticmethod
    def read(row: Any) -> BoxRow:
        """Read a row `[start, end, x0, y0, x1, y1, score]`; offsets may be whole floats.

        Raises:
            BadGroundingError: `rows_malformed`. What the numbers say is not looked at.
        """
        if not isinstance(row, list | tuple) or len(row) != 7 or not all(map(_is_number, row)):
            raise BadGroundingError("rows_malformed", f"not seven finite numbers: {row!r:.120}")
        start, end, *others = row
        if start != int(start) or end != int(end):
            raise BadGroundingError("rows_malformed", f"offsets {start} and {end} are not whole")
        return BoxRow(int(start), int(end), *map(float, others))

    def check(self, caption: str) -> BoxRow:
        """Return the row itself, if its numbers say what they can.

        Raises:
            BadGroundingError: `span_outside`, `box_outside` or `box_corners`.
        """
        check_spans([self.span], caption)
        box = list(self.box_xyxy)
        if min(box) < -EDGE or max(box) > 1 + EDGE:
            raise BadGroundingError("box_outside", f"{box} is not within 0..1")
        if self.x0 >= self.x1 or self.y0 >= self.y1:
            raise BadGroundingError("box_corners", f"{box} does not have x0 < x1 and y0 < y1")
        return self


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A noun chunk, boxed or not. Spans are code points of the exact caption, end-exclusive."""

    start: int
    end: int
    head_start: int  # the chunk's root word
    head_end: int
    head_lemma: str  # lower-case text where there is no lemmatizer
    root_pos: str  # coarse part of speech: NOUN, PROPN, PRON, …
    drop_reason: str | None = None  # why it was never sent to a detector
    expr_start: int | None = None  # the referring expression around it; null where there is none
    expr_end: int | None = None

    @property
    def span(self) -> Span:
        """Its place in the caption."""
        return self.start, self.end

    @property
    def expression(self) -> Span:
        """The place of the referring expression around it, its own where there is none."""
        if self.expr_start is None or self.expr_end is None:
            return self.span
        return self.expr_start, self.expr_end

    @property
    def is_kept(self) -> bool:
        """Whether detectors look for it."""
        return self.drop_reason is None

    def to_json(self) -> dict[str, Any]:
        """Return the record as a sample's JSON holds it."""
        return asdict(self)

    @staticmethod
    def read(record: Any, caption: str) -> Phrase:
        """Read a record; fields of later versions are left out.

        Raises:
            BadGroundingError: `phrases_malformed` or `span_outside`.
        """
        if not isinstance(record, Mapping):
            raise BadGroundingError("phrases_malformed", f"not an object: {record!r:.60}")
        if missing := [name for name in _PHRASE_TYPES if name not in record]:
            raise BadGroundingError("phrases_malformed", f"a phrase lacks {', '.join(missing)}")
        for name, kind in _PHRASE_TYPES.items():
            if not isinstance(record[name], kind) or isinstance(record[name], bool):
                raise BadGroundingError("phrases_malformed", f"{name} is {record[name]!r:.60}")
        if (record["expr_start"] is None) != (record["expr_end"] is None):
            raise BadGroundingError("phrases_malformed", "an expression with one end")
        phrase = Phrase(**{name: record[name] for name in _PHRASE_TYPES})
        head = phrase.head_start, phrase.head_end
        check_spans([phrase.span, head, phrase.expression], caption)
        return phrase


_PHRASE_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("start", "end", "head_start", "head_end"), int),
    **dict.fromkeys(("head_lemma", "root_pos"), str),
    "drop_reason": (str, type(None)),
    **dict.fromkeys(("expr_start", "expr_end"), (int, type(None))),
}


@dataclass(frozen=True)
class Grounding:
    """Which words of a caption have boxes."""

    noun_chunks: tuple[BoxRow, ...]
    ref_exps: tuple[BoxRow, ...]
    phrases: tuple[Phrase, ...]  # every phrase, with or without a box
    categories: Mapping[Span, tuple[str, ...]] = field(default_factory=dict)  # where annotated

    def to_json(self) -> dict[str, Any]:
        """Return what a sample's JSON adds; `phrase_categories` only where there are any."""
        added: dict[str, Any] = {
            "noun_chunks": [list(row) for row in self.noun_chunks],
            "ref_exps": [list(row) for row in self.ref_exps],
            "phrases": [phrase.to_json() for phrase in self.phrases],
        }
        if self.categories:
            added["phrase_categories"] = [
                [*span, list(names)] for span, names in sorted(self.categories.items())
            ]
        return added

    @staticmethod
    def read(values: Mapping[str, Any], caption: str) -> Grounding:
        """Read what a sample's JSON says of phrases and boxes.

        Raises:
            KeyError: A list is missing.
            BadGroundingError: A record cannot be used.
        """
        return Grounding(
            phrases=tuple(
                Phrase.read(record, caption)
                for record in _list(values["phrases"], "phrases_malformed")
            ),
            noun_chunks=box_rows(values["noun_chunks"], caption),
            ref_exps=box_rows(values["ref_exps"], caption),
            categories=dict(
                category(row, caption)
                for row in _list(values.get("phrase_categories") or [], "categories_malformed")
            ),
        )


@dataclass(frozen=True)
class GroundedSample:
    """One sample without its image."""

    common: ImageSample  # the fields that every sample has
    grounding: Grounding
    detector: str | None = None  # name of what found the boxes; None: they were annotated


def parse(raw: RawSample) -> GroundedSample:
    """Read the JSON of a stored sample.

    Raises:
        ValueError: It does not keep the contract; the message names shard and key.
    """
    from shards.sample import decode_json  # not above: it imports pyarrow, and tasks are listed

    where = f"{raw.dataset}: shard {raw.shard}, sample {raw.key}"
    try:
        values = raw.fields()
        common = decode_json(raw.json)
        grounding = Grounding.read(values, common.caption)
    except KeyError as error:
        raise ValueError(f"{where}: its JSON lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    return GroundedSample(common, grounding, values.get("detector"))


def encode(sample: GroundedSample) -> bytes:
    """Return the JSON of a grounded sample."""
    from shards.sample import compact_json, json_fields

    values = {**json_fields(sample.common), **sample.grounding.to_json()}
    if sample.detector is not None:
        values["detector"] = sample.detector
    return compact_json(values).encode()


def box_rows(values: Any, caption: str) -> tuple[BoxRow, ...]:
    """Read and check the rows of a list.

    Raises:
        BadGroundingError: As `BoxRow.read` and `BoxRow.check`.
    """
    return tuple(BoxRow.read(row).check(caption) for row in _list(values, "rows_malformed"))


def check_spans(spans: Sequence[Span], caption: str) -> None:
    """Check that every span is a part of the caption.

    Raises:
        BadGroundingError: `span_outside`.
    """
    for start, end in spans:
        if not 0 <= start < end <= len(caption):
            where = f"{start}..{end} in a caption of {len(caption)} characters"
            raise BadGroundingError("span_outside", where)


def boxes_by_span(rows: Sequence[BoxRow]) -> dict[Span, list[BoxRow]]:
    """Return the rows of each span, the highest score first, equal ones as they were given."""
    by_span: dict[Span, list[BoxRow]] = {}
    for row in sorted(rows, key=lambda row: -row.score):
        by_span.setdefault(row.span, []).append(row)
    return by_span


def category(row: Any, caption: str) -> tuple[Span, tuple[str, ...]]:
    """Read a row `[start, end, names]` of `phrase_categories`.

    Raises:
        BadGroundingError: `categories_malformed` or `span_outside`.
    """
    match row:
        case [int(start), int(end), [*names]] if all(isinstance(name, str) for name in names):
            check_spans([(start, end)], caption)
            return (start, end), tuple(names)
    raise BadGroundingError("categories_malformed", f"not [start, end, names]: {row!r:.120}")


def _list(values: Any, reason: str) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise BadGroundingError(reason, f"not a list: {values!r:.60}")
    return values


def _is_number(value: Any) -> bool:
    """Whether this is a finite number; a comparison with NaN is false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE
