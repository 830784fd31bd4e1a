"""`drop_invalid` nulls exactly the rows that Python cannot decode, wherever the array starts."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from shards.text import drop_invalid

PIECES = [b"a", b" ", b"\x00", b"\xc3\xa9", b"\xe4\xb8\xad", b"\xc3", b"\x80", b"\xff", b"\xed\xa0"]

ROWS = st.lists(st.none() | st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join))


def decodes(value):
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@given(rows=ROWS, data=st.data())
def test_only_undecodable_rows_become_null(rows, data):
    start = data.draw(st.integers(0, len(rows)))
    raw = pa.array(rows, pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count)
    kept, bad = drop_invalid(texts.slice(start))
    expected = [value is not None and not decodes(value) for value in rows[start:]]
    assert bad.to_pylist() == expected
    kept.validate(full=True)
    assert kept.cast(pa.binary()).to_pylist() == [
        None if is_bad else value for value, is_bad in zip(rows[start:], expected, strict=True)
    ]
