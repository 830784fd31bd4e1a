"""Input files open the same way from a path and from a URL, packed or not."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.metadata.filesystems import filesystem_of, open_input, open_unpacked


@pytest.mark.parametrize(
    ("name", "pack"), [("a.tsv", bytes), ("a.tsv.gz", gzip.compress), ("a.tsv.bz2", bz2.compress)]
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_open(tmp_path: Path, name: str, pack: Callable[[bytes], bytes], scheme: str) -> None:
    (tmp_path / name).write_bytes(pack(b"url\tcaption\n"))
    with open_unpacked(f"{scheme}{tmp_path}/{name}") as file:
        assert file.read() == b"url\tcaption\n"
    with open_input(f"{scheme}{tmp_path}/{name}", cache_type="none") as raw:
        assert raw.read() == pack(b"url\tcaption\n")
    assert file.closed and raw.closed


@pytest.mark.parametrize("scheme", ["gs", "gcs"])
def test_gs_is_the_client_that_speaks_to_one_service(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gcsfs.core import GCSFileSystem

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")  # no look at credentials
    filesystem, path = filesystem_of(f"{scheme}://bucket/folder/part-*.parquet")
    assert type(filesystem) is GCSFileSystem
    assert path == "bucket/folder/part-*.parquet"
    GCSFileSystem.clear_instance_cache()


def test_an_unknown_protocol_is_an_error() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        filesystem_of("nowhere://bucket/a.parquet")
