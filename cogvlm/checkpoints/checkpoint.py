"""Checkpoint folders: load ours and the official ones, build from parts, save.

A folder holds safetensors in the official naming, `config.json` where the official code can run
the model, `model_config.json` (ours, exact), and the tokenizer. Folders appear under their name
only when they are complete.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cogvlm.checkpoints import language_base, names, official_config
from cogvlm.checkpoints.sat import SatReader
from cogvlm.checkpoints.tensors import SHARD_BYTES, FileReader, Reader, fill, write_shards
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.eva import resize_positions
from cogvlm.model.init import allocate, init_weights, skeleton
from cogvlm.model.tensor_source import TensorSource

OUR_CONFIG = "model_config.json"
OFFICIAL_CONFIG = "config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def read_config(folder: Path | str) -> ModelConfig:
    """Return the config of a checkpoint folder, ours or official.

    Raises:
        ValueError: There is none, or it describes no model of ours.
    """
    folder = Path(folder)
    ours, official = folder / OUR_CONFIG, folder / OFFICIAL_CONFIG
    for path, read in ((ours, ModelConfig.from_json), (official, official_config.read)):
        if path.is_file():
            return _parse(path, read)
    raise ValueError(f"{folder} has neither {OUR_CONFIG} nor {OFFICIAL_CONFIG}")


def load(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.bfloat16,
    config: ModelConfig | None = None,
) -> CogVLM:
    """Return the model of a checkpoint folder, ours or official.

    Args:
        folder: Holds a config and weights.
        device: Where the weights go.
        dtype: Their type; stored ones are cast. None: the type of the first one that is stored.
        config: Replaces the folder's; may differ in what needs no other weights. With another
            image size the tower's position table is resized.

    Raises:
        ValueError: Config or weights are damaged, missing or do not fit; names file and tensor.
    """
    config = config or read_config(folder)
    reader = FileReader(folder)
    is_glm = any(name.startswith("transformer.encoder.") for name in reader.names())
    naming = names.from_glm4v if is_glm else names.same_names
    dtype = dtype or reader.get(min(reader.names())).dtype
    return _whole(config, reader, naming, device, dtype)


def build_from_parts(
    config: ModelConfig,
    language: Path | str,
    tower: Path | str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> CogVLM:
    """Return a CogVLM made of a plain Llama checkpoint and an image tower.

    What neither has (adapter, BOI, EOI) is initialised from the seed; experts start as the config
    says, by default as copies of the language model's matrices (paper, section 2.1).

    Raises:
        ValueError: A part does not fit the config; names the field or the tensor.
    """
    language_config = Path(language) / OFFICIAL_CONFIG
    if language_config.is_file():
        _same_base(config, _parse(language_config, language_base.read), language_config)
    model = allocate(skeleton(config), "cpu", dtype)
    targets = model.state_dict()
    unused = rf"{names.INV_FREQ}" + ("|^lm_head" if config.tie_embeddings else "")
    filled = fill(targets, FileReader(language), names.from_llama(config), unused=unused)
    reader = FileReader(tower)
    ways = names.from_tower(targets, config, reader.names())
    filled |= fill(targets, reader, ways, unused=names.tower_unused(config))
    init_weights(model, seed, skip=filled)
    return model


def load_sat(
    folder: Path | str, config: ModelConfig, *, dtype: torch.dtype = torch.bfloat16
) -> CogVLM:
    """Return the model of a SwissArmyTransformer checkpoint; model-parallel slices are merged.

    Raises:
        ValueError: Files or tensors are missing or do not fit the config.
    """
    return _whole(config, SatReader(folder, config), names.from_sat, "cpu", dtype)


def _whole(
    config: ModelConfig,
    reader: Reader,
    naming: Callable[[Iterable[str], ModelConfig], dict[str, TensorSource]],
    device: torch.device | str,
    dtype: torch.dtype,
) -> CogVLM:
    """Return a model that one checkpoint fills; its files were looked at before memory is taken."""
    model = allocate(skeleton(config), device, dtype)
    targets = model.state_dict()
    ways, computed = naming(targets, config), names.INV_FREQ
    fill(targets, reader, ways, optional=computed, unused=computed)
    return model


def save(
    model: CogVLM,
    folder: Path | str,
    *,
    tokenizer: Path | str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a checkpoint folder of ours.

    Args:
        model: The model.
        folder: Must not exist, or be empty.
        tokenizer: A folder whose tokenizer files are copied.
        shard_bytes: Largest size of a weights file.

    Raises:
        ValueError: The folder is in use.
    """
    state = model.state_dict()
    configs = {OUR_CONFIG: model.config.to_json()}
    ours = names.same_names(state, model.config)
    write_folder(folder, configs, state, ours, tokenizer=tokenizer, shard_bytes=shard_bytes)


def write_folder(
    folder: Path | str,
    files: Mapping[str, Any],
    state: Mapping[str, Tensor],
    ways: Mapping[str, TensorSource],
    *,
    tokenizer: Path | str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write JSON files, the tensors that are made of a state, and a tokenizer's files."""
    with new_folder(folder) as attempt:
        for name, content in files.items():
            write_json(attempt / name, content)
        if tokenizer is not None:
            _copy_tokenizer(Path(tokenizer), attempt)

        def make(name: str) -> Tensor:
            return ways[name].make(*(state[source] for source in ways[name].names))

        sizes = {name: _size(make(name)) for name in ways}
        write_shards(sizes, make, attempt, shard_bytes)


@contextmanager
def new_folder(folder: Path | str) -> Iterator[Path]:
    """Give a folder to fill; it gets its name when the block ends, or is removed when that fails.

    Raises:
        ValueError: The name is in use.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    attempt = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    attempt.mkdir()
    try:
        yield attempt
        os.replace(attempt, folder)
    except BaseException:
        shutil.rmtree(attempt, ignore_errors=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a config as people read it."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def at_size(weights: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return weights by name with the position table at the config's image size."""
    table_PE = weights.get(names.POSITIONS)
    if table_PE is None or len(table_PE) == config.vision.grid_size**2 + 1:
        return weights
    return {**weights, names.POSITIONS: resize_positions(table_PE, config.vision.grid_size)}


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _parse(path: Path, read: Any) -> Any:
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


_OF_A_BASE = (
    *("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_size"),
    *("mlp_size", "norm_eps", "tie_embeddings", "rope"),
)


def _same_base(config: ModelConfig, base: dict[str, Any], path: Path) -> None:
    for name in _OF_A_BASE:
        if getattr(config, name) != base[name]:
            raise ValueError(
                f"{path}: {name} is {base[name]!r}, but the model to build has "
                f"{getattr(config, name)!r}"
            )
