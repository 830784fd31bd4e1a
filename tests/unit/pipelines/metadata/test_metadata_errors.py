"""A damaged file is counted; a store that does not answer is not taken for one."""

from __future__ import annotations

import errno

import pyarrow as pa
import pytest

from pipelines.metadata.reader import _is_outage


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (OSError("Couldn't deserialize thrift: no more data"), False),
        (pa.ArrowInvalid("Corrupt snappy compressed data"), False),
        (OSError(errno.EIO, "Input/output error"), True),
        (PermissionError(errno.EACCES, "denied"), True),
        (ConnectionResetError("peer"), True),
        (TimeoutError("no answer"), True),
    ],
)
def test_outage(error: Exception, outage: bool) -> None:
    assert _is_outage(error) is outage
