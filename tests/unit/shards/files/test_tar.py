"""Tars: fixed headers, known offsets, readable by tarfile, valid when empty."""

from __future__ import annotations

import io
import tarfile

import pytest

from shards.files.tar import TarWriter

SAMPLES = {
    "00ff": {"jpg": b"x" * 1000, "txt": "é".encode(), "json": b"{}"},
    "01ff": {"jpg": b"y" * 512, "txt": b"", "json": b"{}" * 300},
    "02ff": {"jpg": b"", "txt": b"a", "json": b"b"},
}


def written(samples: dict[str, dict[str, bytes]]) -> tuple[bytes, list[tuple[int, int]]]:
    file = io.BytesIO()
    tar = TarWriter(file)
    places = [tar.add(key, members) for key, members in samples.items()]
    tar.close()
    return file.getvalue(), places


def test_members_come_back_in_order() -> None:
    data, _ = written(SAMPLES)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        actual = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    assert actual == [
        (f"{key}.{extension}", content)
        for key, members in SAMPLES.items()
        for extension, content in members.items()
    ]


@pytest.mark.parametrize("index", range(3))
def test_a_place_is_a_tar_of_its_own(index: int) -> None:
    data, places = written(SAMPLES)
    offset, size = places[index]
    with tarfile.open(fileobj=io.BytesIO(data[offset : offset + size] + b"\0" * 1024)) as tar:
        actual = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    key = list(SAMPLES)[index]
    assert actual == {f"{key}.{e}": content for e, content in SAMPLES[key].items()}


def test_places_leave_no_gaps() -> None:
    data, places = written(SAMPLES)
    ends = [offset + size for offset, size in places]
    assert [offset for offset, _ in places] == [0, *ends[:-1]]
    assert data[ends[-1] :].strip(b"\0") == b""
    assert len(data) % tarfile.RECORDSIZE == 0


def test_headers_say_nothing_about_when_and_where() -> None:
    data, _ = written(SAMPLES)
    assert data == written(SAMPLES)[0]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in tar}
    assert facts == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}


def test_no_samples_are_a_valid_tar() -> None:
    data, _ = written({})
    assert len(data) == tarfile.RECORDSIZE
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == []
