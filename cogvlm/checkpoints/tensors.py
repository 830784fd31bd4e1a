"""Weights on disk, read one tensor at a time and written in shards.

Files are memory-mapped: what is held is the model and the tensor in hand. Only safetensors, and
PyTorch files through `weights_only=True`, are opened: nothing that could run code.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from cogvlm.model.tensor_source import TensorSource

SHARD_BYTES = 5_000_000_000
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SAFETENSORS = ".safetensors"


class Reader(Protocol):
    """Named tensors that are fetched when asked for."""

    place: str

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""

    def get(self, name: str) -> Tensor:
        """Return one tensor; the name is one of `names`."""


class FileReader:
    """A checkpoint file, or a folder with one or more of them."""

    def __init__(self, path: Path | str) -> None:
        self.place = str(path)
        self._files = _files_of(Path(path))
        self._open: dict[Path, Any] = {}

    def names(self) -> Collection[str]:
        """Return the names of all tensors.

        Raises:
            ValueError: A file cannot be read; names it.
        """
        return self._files

    def get(self, name: str) -> Tensor:
        """Return one tensor, mapped from its file."""
        path = self._files[name]
        # One file at a time: every page that was read counts as held while its file is mapped.
        if path.suffix != _SAFETENSORS:
            if path not in self._open:
                self._open = {path: load_torch_file(path)}
            return self._open[path][name]
        if path not in self._open:
            with _named_errors(path):
                self._open = {path: safetensors.safe_open(path, framework="pt")}
        with _named_errors(path):
            return self._open[path].get_tensor(name)


def load_torch_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file, mapped, from `module` or `state_dict` if it has one.

    Raises:
        ValueError: It is no such file, or holds more than tensors.
    """
    can_map = zipfile.is_zipfile(path)  # files of before PyTorch 1.6 are no archives
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=can_map)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable PyTorch weights file: {first_line}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}, not named tensors")
    for wrapper in ("module", "state_dict"):
        data = data.get(wrapper, data)
    return {name: value for name, value in data.items() if isinstance(value, Tensor)}


def fill(
    targets: Mapping[str, Tensor],
    reader: Reader,
    sources: Mapping[str, TensorSource],
    *,
    optional: str = r"$^",
    unused: str = r"$^",
) -> set[str]:
    """Copy a checkpoint into tensors, one after the other; returns the names that were filled.

    Args:
        targets: The tensors to fill, by our names.
        reader: The checkpoint.
        sources: Our names to what they are made from; other targets are left alone.
        optional: Pattern of our names that the checkpoint may lack.
        unused: Pattern of the checkpoint's names that may stay unread.

    Raises:
        ValueError: A tensor is missing, has another shape, or is left over and not allowed to be.
    """
    there = set(reader.names())
    missing = [
        wanted
        for name, source in sources.items()
        if not re.search(optional, name)
        for wanted in source.names
        if wanted not in there
    ]
    used = {name for source in sources.values() for name in source.names}
    left_over = sorted(name for name in there - used if not re.search(unused, name))
    if missing or left_over:
        raise ValueError(f"{reader.place}: {_difference(missing, left_over)}")
    filled = set()
    for name, source in sources.items():
        if not there.issuperset(source.names):
            continue
        with torch.no_grad():
            tensor = source.make(*(reader.get(wanted) for wanted in source.names))
            _check_shape(reader.place, name, source, targets[name], tensor)
            targets[name].copy_(tensor)
        filled.add(name)
    return filled


def write_shards(
    names: Mapping[str, int],
    get: Callable[[str], Tensor],
    folder: Path,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write tensors as `model*.safetensors`, with an index where there is more than one file.

    Args:
        names: Names and sizes in bytes, in the order in which they are written.
        get: Returns a tensor by name; asked once each, a shard's worth at a time.
        folder: An existing folder.
        shard_bytes: Largest size of a file, unless a single tensor is larger.
    """
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, size in names.items():
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    index: dict[str, str] = {}
    for number, members in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}{_SAFETENSORS}"
        file = file if len(shards) > 1 else f"model{_SAFETENSORS}"
        tensors = {name: get(name).detach().cpu().contiguous() for name in members}
        safetensors.torch.save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(members, file)
    if len(shards) > 1:
        content = {"metadata": {"total_size": sum(names.values())}, "weight_map": index}
        (folder / _INDEXES[0]).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _files_of(path: Path) -> dict[str, Path]:
    """Return each tensor's file."""
    if path.is_file():
        files = [path]
    elif path.is_dir():
        for index in _INDEXES:
            if (path / index).is_file():
                return _files_of_index(path / index)
        whole = path / f"model{_SAFETENSORS}"
        candidates = sorted(path.glob(f"*{_SAFETENSORS}")) or sorted(path.glob("*.bin"))
        files = [whole] if whole.is_file() else candidates
    else:
        raise ValueError(f"{path} does not exist; give a checkpoint folder or file")
    if not files:
        raise ValueError(f"{path} holds neither *.safetensors nor *.bin files")
    return {name: file for file in files for name in _names_in(file)}


def _files_of_index(index: Path) -> dict[str, Path]:
    with _named_errors(index):
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    files = {name: index.parent / file for name, file in weight_map.items()}
    for file in sorted(set(files.values())):
        if not file.is_file():
            raise ValueError(f"{index} names {file.name}, which is missing from {index.parent}")
        if file.suffix != _SAFETENSORS:
            continue
        promised = {name for name, place in files.items() if place == file}
        absent = sorted(promised - set(_names_in(file)))
        if absent:
            raise ValueError(f"{file} lacks {absent[0]}, which {index.name} promises")
    return files


def _names_in(file: Path) -> list[str]:
    if file.suffix != _SAFETENSORS:
        return list(load_torch_file(file))
    with _named_errors(file), safetensors.safe_open(file, framework="pt") as opened:
        return list(opened.keys())


@contextlib.contextmanager
def _named_errors(path: Path) -> Any:
    try:
        yield
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from error


def _difference(missing: list[str], left_over: list[str]) -> str:
    parts = []
    for kind, names in (("lacks", missing), ("has unknown", left_over)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{kind} {', '.join(names[:3])}{more}")
    return "; ".join(parts)


def _check_shape(
    place: str, name: str, source: TensorSource, target: Tensor, tensor: Tensor
) -> None:
    if target.shape != tensor.shape:
        origin = "" if source.names == (name,) else f" (from {' + '.join(source.names)})"
        raise ValueError(
            f"{place}: {name}{origin} has shape {tuple(tensor.shape)}, expected "
            f"{tuple(target.shape)}"
        )
