"""Training reads its shards from object stores, in loader processes that were forked."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from helpers.cogvlm import toy_tokenizer
from helpers.cogvlm.training import finish, steps
from helpers.shards import emulators, toy_shards

from shards.files.store import Store


@pytest.mark.parametrize("serve", [emulators.gs_emulator, emulators.s3_emulator])
def test_a_bucket_gives_the_batches_of_a_folder(
    serve: Callable[[], AbstractContextManager[str]], tmp_path: Path
) -> None:
    local = toy_shards.write_run(tmp_path / "run", toy_shards.captioned(40), shard_size=16)
    flags = (
        *("--preset", "debug", "--tokenizer", toy_tokenizer.write(tmp_path / "words")),
        *("--override", "vocab_size=512", "--steps", 3, "--warmup_steps", 1, "--workers", 2),
    )
    finish(*flags, "--data", local, "--output", tmp_path / "local")
    with serve() as bucket:
        remote = Store(f"{bucket}/run")
        for folder, _, names in os.walk(local):
            for name in names:
                path = Path(folder) / name
                remote.write(str(path.relative_to(local)), path.read_bytes())
        finish(*flags, "--data", remote.root, "--output", tmp_path / "remote")
    assert steps(tmp_path / "remote") == steps(tmp_path / "local")
