"""Brings a column of any type to a canonical one, value by value.

Re-saved corpora drift between files: ids become doubles, strings large strings, numbers text.
What has no value in the canonical type becomes null, never an error, and no value depends on
what stands beside it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from shards import text


def cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Bring one column to a canonical type; what has no value there becomes null, never an error.

    Re-saved corpora drift between files (ids as doubles, large strings, dictionaries).
    """
    if array.type == target:
        return array
    if pa.types.is_dictionary(target):
        return cast(array, pa.string()).dictionary_encode()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if target == pa.string():
        return _to_string(array)
    return _to_number(array, target)


def _to_string(array: pa.Array) -> pa.Array:
    if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type):
        array = array.cast(pa.large_binary()).cast(pa.binary())
    if pa.types.is_binary(array.type) or pa.types.is_string(array.type):
        # Reinterpret without checking: bad bytes are found and counted later.
        return pa.Array.from_buffers(
            pa.string(), len(array), array.buffers(), array.null_count, array.offset
        )
    if pa.types.is_floating(array.type):
        return _float_to_string(array)
    return array.cast(pa.string(), safe=False)


def _float_to_string(array: pa.Array) -> pa.Array:
    """Write ids that became doubles as the integers they were, whatever stands beside them."""
    array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
    whole = pc.and_(pc.equal(pc.trunc(array), array), pc.less(pc.abs(array), 2.0**63))
    integers = pc.if_else(whole, array, pa.scalar(None, array.type)).cast(pa.int64())
    return pc.coalesce(integers.cast(pa.string()), array.cast(pa.string()))


_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


def _to_number(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        strings = text.drop_invalid(_to_string(array))[0]
        numeric = pc.fill_null(pc.match_substring_regex(strings, _NUMBER), False)
        array = pc.if_else(numeric, strings, pa.scalar(None, pa.string())).cast(pa.float64())
    if pa.types.is_floating(target):
        return array.cast(target, safe=False)
    assert target == pa.int32(), target
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_finite(array), pc.trunc(array), pa.scalar(None, array.type))
    fits = pc.and_(pc.less(array, 2**31), pc.greater_equal(array, -(2**31)))
    return pc.if_else(fits, array, pa.scalar(None, array.type)).cast(target, safe=False)
