"""A run that was killed resumes as if nothing had happened, to the last bit."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from helpers.cogvlm import toy_tokenizer
from helpers.cogvlm.training import Training, finish, kill_after, steps, weights
from helpers.shards import toy_shards

from cogvlm.checkpoints import snapshots


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Return the flags of a small run: ten steps of 16 samples, a snapshot after 3, 6, 9 and 10."""
    folder = tmp_path_factory.mktemp("data")
    shards = toy_shards.write_run(
        folder / "run", toy_shards.captioned(75), shard_size=12, uneven=True
    )
    tokenizer = toy_tokenizer.write(folder / "words")
    return (
        *("--preset", "debug", "--data", shards, "--tokenizer", tokenizer),
        *("--override", "vocab_size=512", "--dropout", 0.1, "--steps", 10, "--snapshot_every", 3),
        *("--micro_batch", 8, "--streams", 8, "--log_every", 100),
    )


@pytest.fixture(scope="module")
def straight(data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "out"
    finish(*data, "--output", run, "--workers", 0)
    return run


@pytest.fixture(scope="module")
def straight_on_two(data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight_on_two") / "out"
    finish(*data, "--output", run, "--workers", 0, ranks=2)
    return run


def assert_same(run: Path, expected: Path) -> None:
    assert [step for step, _, _ in steps(run)] == list(range(1, 11))
    assert steps(run) == steps(expected)
    for kind in ("raw", "ema"):
        ours, theirs = weights(run, kind), weights(expected, kind)
        differ = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
        assert ours.keys() == theirs.keys() and not differ


def test_two_kills_and_two_data_workers_change_nothing(
    data: tuple[object, ...], straight: Path, tmp_path: Path
) -> None:
    flags = (*data, "--output", tmp_path, "--workers", 2)
    kill_after(tmp_path, 3, *flags)
    kill_after(tmp_path, 6, *flags)
    said = finish(*flags)
    assert "resumes after step" in said
    assert_same(tmp_path, straight)


def test_two_ranks_that_were_killed_end_like_two_that_were_not(
    data: tuple[object, ...], straight_on_two: Path, tmp_path: Path
) -> None:
    flags = (*data, "--output", tmp_path, "--workers", 1)
    kill_after(tmp_path, 6, *flags, ranks=2)
    finish(*flags, ranks=2)
    assert_same(tmp_path, straight_on_two)


def test_one_rank_with_two_micro_batches_is_two_ranks(
    data: tuple[object, ...], tmp_path: Path
) -> None:
    flags = (*data, "--dropout", 0, "--steps", 6, "--snapshot_every", 100, "--workers", 0)
    finish(*flags, "--output", tmp_path / "one")  # 16 samples as 2 x 8
    finish(*flags, "--output", tmp_path / "two", ranks=2)  # 8 on each
    one, two = steps(tmp_path / "one"), steps(tmp_path / "two")
    assert [keys for _, _, keys in one] == [keys for _, _, keys in two]
    assert [loss for _, loss, _ in one] == pytest.approx([loss for _, loss, _ in two], rel=1e-6)


def test_another_world_size_goes_on_with_the_same_batches(
    data: tuple[object, ...], straight: Path, tmp_path: Path
) -> None:
    kill_after(tmp_path, 3, *data, "--output", tmp_path, "--workers", 0, ranks=2)
    finish(*data, "--output", tmp_path, "--workers", 0)
    assert [(step, keys) for step, _, keys in steps(tmp_path)] == [
        (step, keys) for step, _, keys in steps(straight)
    ]


def test_a_world_size_that_does_not_fit_is_refused_and_told_which_do(
    data: tuple[object, ...], straight: Path
) -> None:
    with Training(*data, "--output", straight, "--workers", 3) as training:
        code, said = training.ended()
    assert code == 2
    assert "8 streams: it resumes exactly with 1, 2, 4, 8 (ranks x workers)" in said


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_writes_a_snapshot_and_ends_well(
    asked: signal.Signals, data: tuple[object, ...], tmp_path: Path
) -> None:
    flags = (*data, "--output", tmp_path, "--workers", 1, "--steps", 2000)
    with Training(*flags) as training:
        training.wait_for_snapshot(tmp_path, 3)
        training.send(asked)
        code, said = training.ended()
    assert code == 0, said
    last = snapshots.latest(tmp_path)
    assert last is not None and last.step == steps(tmp_path)[-1][0] < 2000
