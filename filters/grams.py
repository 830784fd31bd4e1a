"""An upper bound on how much of each caption repeats, at array speed.

In: an Arrow string array. Out: per row a share that is never below the true share of repeated
10-character runs: equal runs have equal hashes, and a collision can only add. The caller counts
exactly where the bound matters (about 2 % of web captions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from filters.characters import utf8_bytes

if TYPE_CHECKING:
    import pyarrow as pa

WIDTH = 10

_ODD = 0x9E3779B1
"""Multiplier of the polynomial hash (2^32 over the golden ratio)."""


def repeated_share_bound(column: pa.Array) -> npt.NDArray[np.float64]:
    """Bound the share of repeated 10-grams of every row, shape (rows,) in [0, 1].

    Args:
        column: at most 65,536 rows; null counts as empty. Small blocks sort in cache and leave
            more of the 32-bit sort key to the hash.
    """
    points, starts = _code_points(column)
    lengths = np.diff(starts)
    total = np.maximum(lengths - (WIDTH - 1), 0)
    if not total.any():
        return np.zeros(len(lengths))
    # One sort finds the equal runs of all rows: the key is the row number, then as much of the
    # run's hash as the other bits hold. Runs of different rows never compare equal.
    row_bits = max(int(len(lengths) - 1).bit_length(), 1)
    assert row_bits <= 16, len(lengths)
    rows = np.repeat(np.arange(len(lengths), dtype=np.uint32), total)
    # Where each run begins in the joined text: the k-th run of a row at the row's start plus k.
    # A run that would reach into the next row is none, which is why hashes are picked by index.
    first = np.repeat(starts[:-1] - (np.cumsum(total) - total), total) + np.arange(len(rows))
    hashes = _rolling_hashes(points)[first]
    sorted_keys = np.sort((rows << np.uint32(32 - row_bits)) | (hashes >> np.uint32(row_bits)))
    equal = sorted_keys[1:] == sorted_keys[:-1]
    repeated = np.zeros(len(sorted_keys), dtype=np.bool_)
    repeated[1:] = equal  # a run that equals its neighbour on either side occurs twice or more
    repeated[:-1] |= equal
    row_of = sorted_keys[repeated] >> np.uint32(32 - row_bits)
    counts = np.bincount(row_of, minlength=len(lengths)).astype(np.float64)
    bound: npt.NDArray[np.float64] = counts / np.maximum(total, 1)
    return bound


def _code_points(
    column: pa.Array,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    data, starts = utf8_bytes(column)
    if not (data >= 0x80).any():  # ASCII: bytes are code points
        return data.astype(np.uint32), starts
    points = np.frombuffer(data.tobytes().decode("utf-8").encode("utf-32-le"), dtype=np.uint32)
    # Row starts are byte offsets; count the characters before each, by their first bytes.
    before = np.zeros(len(data) + 1, dtype=np.int64)
    np.cumsum((data & 0xC0) != 0x80, out=before[1:])
    return points, before[starts]


def _rolling_hashes(points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash the 10 code points from every position on, by doubling: 1, 2, 4, 8, 8 + 2."""
    powers = [np.uint32(pow(_ODD, k, 2**32)) for k in range(5)]
    one = points * np.uint32(0x85EBCA6B)
    two = one[:-1] * powers[1] + one[1:]
    four = two[:-2] * powers[2] + two[2:]
    eight = four[:-4] * powers[4] + four[4:]
    ten = eight[:-2] * powers[2] + two[8:]
    return ten ^ (ten >> np.uint32(15))
