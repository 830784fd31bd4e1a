"""Members found by hand are those that `tarfile` finds, and damage is told, never guessed over."""

from __future__ import annotations

import io
import tarfile

import pytest

from shards.files.tar_members import TarDamageError, members, split_name
from shards.files.tar_members import mapped as map_file

NAMES = ("a.jpg", "a.txt", "folder/b.c/" + "long" * 60 + ".jpg", "ü.json", "plain")


def made(tar_format: int, mtime: float = 1.5) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, name in enumerate(NAMES):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 511 + number, mtime
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    return buffer.getvalue()


def read(data: bytes) -> list[tuple[str, bytes]]:
    found = members(lambda start, end: data[start:end], 0, len(data))
    return [(name, data[start:end]) for name, _, start, end in found]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_as_tarfile(tar_format: int) -> None:
    data = made(tar_format)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(m.name, tar.extractfile(m).read()) for m in tar if m.isfile()]
    assert read(data) == expected
    assert [name for name, _ in expected] == list(NAMES)


def test_a_ustar_prefix_belongs_to_the_name() -> None:
    buffer = io.BytesIO()
    name = "f" * 90 + "/" + "b" * 40 + ".jpg"
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert read(buffer.getvalue()) == [(name, b"")]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_changed_byte_of_a_header_is_damage(tar_format: int) -> None:
    data = made(tar_format)
    expected = read(data)
    (header,) = (
        start
        for name, start, *_ in members(lambda a, b: data[a:b], 0, len(data))
        if name == "a.txt"
    )
    for position in range(header, header + 512):
        broken = bytearray(data)
        broken[position] ^= 0x11
        try:
            found = read(bytes(broken))
        except TarDamageError:
            continue
        # Blanks of the checksum field itself may change without meaning.
        assert found == expected, position


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_cut_tar_is_damaged_or_shorter(tar_format: int) -> None:
    data = made(tar_format)
    expected = read(data)
    for end in range(0, len(data), 100):
        try:
            found = read(data[:end])
        except TarDamageError:
            continue
        assert found == expected[: len(found)]


def test_noise_is_damage() -> None:
    for seed in range(50):
        with pytest.raises(TarDamageError):
            read(bytes((i * 37 + seed) % 251 + 1 for i in range(2048)))


def test_an_empty_file_cannot_be_mapped(tmp_path) -> None:
    (tmp_path / "empty.tar").touch()
    with pytest.raises(TarDamageError, match="empty"):
        map_file(str(tmp_path / "empty.tar"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("a.0.JPG", ("a", "0.jpg")),
        ("x.y/a.txt", ("x.y/a", "txt")),
        ("x.y/a", ("x.y/a", "")),
        (".hidden", (".hidden", "")),
    ],
)
def test_names_are_cut_at_the_first_dot(name: str, expected: tuple[str, str]) -> None:
    assert split_name(name) == expected
