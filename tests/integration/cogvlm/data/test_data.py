"""Shard sets to batches, with real runs and loader processes: nothing twice, nothing silent."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import tarfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cogvlm.toy_tokenizer import write
from helpers.shards.toy_shards import (
    ToySample,
    captioned,
    dialogues,
    documents,
    grounded,
    select,
    texts,
    write_run,
)
from torch import Tensor
from torch.utils.data import get_worker_info

from cogvlm.data.loader import Work, ahead, blank, loader, work_of
from cogvlm.data.mixture import open_mixture
from cogvlm.data.parts import DataPlan, Part, check, tokenizer_file
from cogvlm.data.sequences import SampleMaker
from cogvlm.data.tasks import SkipReason
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.layout import IGNORE, Batch
from cogvlm.model.variants.small import debug
from shards.access import SampleReader
from shards.dataset import open_dataset

MODEL = debug()
# Streams that every number of readers here divides.
STREAMS = 12
DEALS = [*itertools.product((1, 2, 3), (0, 1, 2))]  # ranks, workers

torch.set_num_threads(1)


def model_size(step: int) -> int:
    return 0


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 samples in shards of 8, 1, 0 and 4."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return write_run(folder, captioned(45), uneven=True)


@pytest.fixture(scope="module")
def plan(run: Path, tokenizer: str) -> DataPlan:
    return plan_of(str(run), tokenizer)


def plan_of(data: str, tokenizer: str, **changes: Any) -> DataPlan:
    settings = {
        "components": tuple(open_mixture(data, "caption")),
        "model": MODEL,
        "tokenizer": tokenizer,
        "template": "chat",
        "seed": 3,
        "window": 2,
        "streams": STREAMS,
        "global_batch": STREAMS,
        "resolution": model_size,
    }
    return DataPlan(**{**settings, **changes})


def epoch(plan: DataPlan) -> range:
    steps = plan.schedule.steps_per_epoch
    assert steps is not None
    return range(steps)


def works(plan: DataPlan, steps: range | None = None, **more: int) -> list[Work]:
    """Return a rank's work of an epoch, or of some steps."""
    settings = {"micro_batch": 4, **more}
    return [*loader(plan, steps=epoch(plan) if steps is None else steps, **settings)]


def tensors(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    batch.apply(keep)
    return found


def are_equal(one: Work, other: Work) -> bool:
    """Whether two works are the same to the bit, but for how long they were waited for."""
    pairs = [
        zip(tensors(first), tensors(second), strict=True)
        for first, second in zip(one.batches, other.batches, strict=True)
    ]
    facts = [replace(each, batches=(), skipped=(), wait_s=0) for each in (one, other)]
    same_skips = Counter(one.skipped) == Counter(other.skipped)
    return (
        facts[0] == facts[1] and same_skips and all(itertools.starmap(torch.equal, joined(pairs)))
    )


def joined(parts: Iterable[Any]) -> Iterator[Any]:
    return itertools.chain.from_iterable(parts)


def keys_in(folder: Path | str) -> list[str]:
    dataset = open_dataset(folder)
    reader = SampleReader(dataset)
    return [raw.key for shard in range(len(dataset.shards)) for raw in reader.iterate(shard)]


@pytest.fixture(scope="module")
def alone(plan: DataPlan) -> list[Work]:
    """The epoch of a single process."""
    return works(plan)


def test_a_row_is_a_sample_as_the_maker_makes_it(
    plan: DataPlan, alone: list[Work], run: Path, tokenizer: str
) -> None:
    reader = SampleReader(open_dataset(run))
    draws = [draw for stream in range(STREAMS) for draw in plan.schedule.draws(stream, 0) if draw]
    maker = SampleMaker(Tokenizer(tokenizer), plan.template, plan.augment, plan.seed)
    raws = [reader.read(draw.shard, draw.row) for draw in draws]
    samples = [maker.make(raw, "caption", 0, MODEL) for raw in raws]
    work = alone[0]
    assert work.keys == tuple(raw.key for raw in raws)
    rows = [row for batch in work.batches for row in batch.ids_BL.tolist()]
    assert [row[: len(each.ids)] for row, each in zip(rows, samples, strict=True)] == [
        each.ids for each in samples
    ]
    images = torch.cat([batch.images_ICHW for batch in work.batches])
    assert images.dtype == torch.uint8
    assert images.equal(torch.stack([each.images[0] for each in samples]))
    assert (work.images, work.tokens) == (12, sum(len(each.ids) for each in samples))
    assert work.targets == sum(label != IGNORE for each in samples for label in each.labels)
    assert [len(batch.ids_BL) for batch in work.batches] == [4, 4, 4]


@pytest.mark.parametrize(("ranks", "workers"), DEALS)
def test_every_sample_of_an_epoch_is_seen_once(
    plan: DataPlan, alone: list[Work], run: Path, ranks: int, workers: int
) -> None:
    dealt = [works(plan, rank=rank, ranks=ranks, workers=workers) for rank in range(ranks)]
    seen = [key for work in joined(dealt) for key in work.keys]
    assert sorted(seen) == sorted(keys_in(run))
    for step, expected in enumerate(alone):
        parts = [work[step] for work in dealt]
        assert {part.step for part in parts} == {step}
        assert Counter(joined(part.keys for part in parts)) == Counter(expected.keys)
        assert sum(part.key_sum for part in parts) % 2**62 == expected.key_sum
        assert sum(part.empty for part in parts) == expected.empty
        assert sum(part.tokens for part in parts) == expected.tokens


def test_slots_after_the_end_of_a_stream_are_empty(alone: list[Work]) -> None:
    assert [len(work.keys) for work in alone] == [12, 12, 12, 9]
    assert [work.empty for work in alone] == [0, 0, 0, 3]
    assert not any(work.skipped for work in alone)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rank", [0, 1])
def test_the_number_of_processes_changes_no_bit(plan: DataPlan, rank: int, workers: int) -> None:
    expected = works(plan, rank=rank, ranks=2)
    found = works(plan, rank=rank, ranks=2, workers=workers)
    assert all(itertools.starmap(are_equal, zip(found, expected, strict=True)))


@pytest.mark.parametrize("workers", [0, 2])
def test_going_on_is_as_never_having_stopped(
    plan: DataPlan, alone: list[Work], workers: int
) -> None:
    rest = works(plan, range(2, 6), workers=workers)
    assert [work.step for work in rest] == [2, 3, 4, 5]
    assert all(itertools.starmap(are_equal, zip(rest[:2], alone[2:], strict=True)))
    assert set(rest[2].keys) != set(alone[0].keys)  # the next epoch, in another order


def test_a_sample_is_asked_otherwise_in_the_next_epoch(
    five: dict[str, Path], tokenizer: str
) -> None:
    plan = plan_of(f"rec={five['rec']}", tokenizer)
    steps = len(epoch(plan))
    first, again, second = (
        rows_by_key(works(plan, each, micro_batch=1))
        for each in (range(steps), range(steps), range(steps, 2 * steps))
    )
    assert first == again
    assert first.keys() == second.keys()
    asked_otherwise = [key for key in first if first[key][1] != second[key][1]]
    assert len(asked_otherwise) > len(first) / 2
    assert all(first[key][0] == second[key][0] for key in first)  # the images are the same


def test_fewer_samples_than_streams(tmp_path: Path, tokenizer: str) -> None:
    few = plan_of(str(write_run(tmp_path / "few", captioned(5))), tokenizer)
    dealt = [works(few, rank=rank, ranks=3, workers=2) for rank in range(3)]
    assert [len(each) for each in dealt] == [1, 1, 1]
    assert sorted(joined(each[0].keys for each in dealt)) == sorted(keys_in(tmp_path / "few"))
    assert all(len(each[0].batches) == (len(each[0].keys) > 0) for each in dealt)


def test_the_input_side_may_change_between_steps(plan: DataPlan) -> None:
    changing = replace(plan, resolution=lambda step: 112 if step >= 2 else 0)
    shapes = [tuple(work.batches[0].images_ICHW.shape[1:]) for work in works(changing, workers=2)]
    assert shapes == [(3, 56, 56)] * 2 + [(3, 112, 112)] * 2


# Damage.


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, for tests that break it."""
    return Path(shutil.copytree(run, tmp_path / "damaged"))


def member(folder: Path, key: str, extension: str) -> tuple[Path, int, int]:
    """Return the tar of a sample's member, and where its content is."""
    for file in sorted(folder.glob("shards/*.tar")):
        with tarfile.open(file) as tar:
            for info in tar:
                if info.name == f"{key}.{extension}":
                    return file, info.offset_data, info.size
    raise AssertionError(key)


def overwrite(folder: Path, key: str, extension: str) -> str:
    """Make a member's content garbage; return the name of its shard."""
    file, start, size = member(folder, key, extension)
    data = bytearray(file.read_bytes())
    data[start : start + size] = b"x" * size
    file.write_bytes(data)
    return file.stem


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_damaged_is_named_and_leaves_its_slot_empty(
    damaged: Path, alone: list[Work], tokenizer: str, workers: int
) -> None:
    keys = sorted(keys_in(damaged))
    expected = {
        (overwrite(damaged, keys[0], "jpg"), keys[0], SkipReason.IMAGE_DAMAGED),
        (overwrite(damaged, keys[1], "json"), keys[1], SkipReason.JSON_DAMAGED),
    }
    # The last shard's tar ends within its second sample.
    last = max(file for file in damaged.glob("shards/*.tar") if file.stat().st_size > 20_000)
    with tarfile.open(last) as tar:
        stems = list(dict.fromkeys(info.name.partition(".")[0] for info in tar))
    _, start, _ = member(damaged, stems[1], "txt")
    os.truncate(last, start)
    lost = {(last.stem, key, SkipReason.TAR_DAMAGED) for key in stems[1:]}
    expected = {each for each in expected if each[1] not in stems[1:]} | lost
    reasons = {reason for _, _, reason in expected}
    assert reasons == {"image_damaged", "json_damaged", "tar_damaged"}

    found = works(plan_of(str(damaged), tokenizer), micro_batch=1, workers=workers)

    skips = [skip for work in found for skip in work.skipped]
    assert {(skip.shard, skip.key, skip.reason) for skip in skips} == expected
    assert len(skips) == len(expected)
    assert {skip.dataset for skip in skips} == {str(damaged)}
    assert all(skip.detail for skip in skips)
    bad = {key for _, key, _ in expected}
    for work, whole in zip(found, alone, strict=True):
        assert work.keys == tuple(key for key in whole.keys if key not in bad)
        assert work.empty == whole.empty + len(work.skipped)
    assert rows_by_key(found).items() <= rows_by_key(alone).items()


def rows_by_key(epoch: list[Work]) -> dict[str, tuple[bytes, bytes]]:
    """Return the image and the text of every sample, as bytes."""
    found = {}
    for work in epoch:
        rows = [row for batch in work.batches for row in batch.ids_BL]
        images = torch.cat([batch.images_ICHW for batch in work.batches])
        for key, row, image in zip(work.keys, rows, images, strict=True):
            text = row[row != MODEL.pad_id]
            found[key] = image.numpy().tobytes(), text.numpy().tobytes()
    return found


def test_a_sample_with_a_member_too_many_is_named(tmp_path: Path, tokenizer: str) -> None:
    good = captioned(5)
    twice = ToySample("two pictures", good[0].images * 2)
    folder = write_run(tmp_path / "run", [*good, twice])
    (work,) = works(plan_of(str(folder), tokenizer))
    (skip,) = work.skipped
    assert (skip.key, skip.reason) == (twice.key, SkipReason.SAMPLE_INCOMPLETE)
    assert "images [0, 1] in a sample of level image_text" in skip.detail
    assert sorted(work.keys) == sorted(sample.key for sample in good)


def test_a_shard_without_its_sidecar_is_named_without_a_key(damaged: Path, tokenizer: str) -> None:
    (damaged / "shards/000000.parquet").unlink()
    found = works(plan_of(str(damaged), tokenizer), workers=2)
    skips = {(skip.shard, skip.key, skip.reason) for work in found for skip in work.skipped}
    assert skips == {("000000", None, SkipReason.TAR_DAMAGED)}
    assert sum(len(work.keys) for work in found) == 45 - 8


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_in_a_row_end_it_and_the_last_is_named(
    damaged: Path, alone: list[Work], tokenizer: str, workers: int
) -> None:
    order = [key for work in alone for key in work.keys]
    for key in order[20:25]:
        shard = overwrite(damaged, key, "jpg")
    plan = plan_of(str(damaged), tokenizer, error_budget=5)
    with pytest.raises(ValueError) as told:
        works(plan, workers=workers)
    assert str(told.value).startswith(
        f"5 samples in a row could not be used; the last one: {damaged}, shard {shard}, "
        f"key {order[24]}: image_damaged (not_an_image"
    )
    assert "python -m pipelines.lint" in str(told.value)
    assert len(works(replace(plan, error_budget=6), workers=workers)) == len(alone)


def test_a_good_sample_starts_the_count_again(
    damaged: Path, alone: list[Work], tokenizer: str
) -> None:
    order = [key for work in alone for key in work.keys]
    for key in order[::2]:
        overwrite(damaged, key, "jpg")
    found = works(plan_of(str(damaged), tokenizer, error_budget=2))
    assert [key for work in found for key in work.keys] == order[1::2]


# Processes and threads.


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Check that a test leaves no process and no thread; the threads of queues end by and by."""
    before = {*threading.enumerate()}
    yield
    assert not multiprocessing.active_children()
    for thread in {*threading.enumerate()} - before:
        thread.join(10)
        assert not thread.is_alive(), thread.name


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.usefixtures("leaves_nothing")
def test_nothing_is_left_of_a_loader_that_is_closed_early(
    plan: DataPlan, workers: int, taken: int
) -> None:
    source = loader(plan, steps=range(1000), micro_batch=4, workers=workers)
    assert [next(source).step for _ in range(taken)] == [*range(taken)]
    source.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("leaves_nothing")
def test_nothing_is_left_of_a_loader_that_ended(plan: DataPlan, workers: int) -> None:
    source = loader(plan, steps=epoch(plan), micro_batch=4, workers=workers)
    assert len([*source]) == 4
    assert not multiprocessing.active_children()


def broken(step: int) -> int:
    if step == 2:
        raise RuntimeError("a mistake in a program")
    return 0


def killed(step: int) -> int:
    info = get_worker_info()
    if step == 2 and info is not None and info.id == 1:
        os._exit(7)
    return 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("leaves_nothing")
def test_an_error_of_a_loader_process_reaches_the_caller(plan: DataPlan, workers: int) -> None:
    source = loader(
        replace(plan, resolution=broken), steps=epoch(plan), micro_batch=4, workers=workers
    )
    with pytest.raises(RuntimeError, match="a mistake in a program"):
        for _ in source:
            pass
    assert not multiprocessing.active_children()


def test_a_loader_process_that_is_killed_is_missed(plan: DataPlan) -> None:
    others = multiprocessing.active_children()  # of tests before, in this process
    source = loader(replace(plan, resolution=killed), steps=epoch(plan), micro_batch=4, workers=2)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        for _ in source:
            pass
    for process in {*multiprocessing.active_children()} - {*others}:  # told to end a moment ago
        process.join(60)
        assert not process.is_alive()


def test_work_is_made_ahead_and_its_wait_is_told(alone: list[Work]) -> None:
    asked: list[int] = []
    third = threading.Event()

    def source() -> Iterator[Work]:
        for work in alone:
            asked.append(work.step)
            if work.step == 2:
                third.set()
            yield work

    found = ahead(source(), 2)
    assert next(found).step == 0
    assert third.wait(10)  # though nobody has asked for it
    rest = [*found]
    assert [work.step for work in rest] == asked[1:] == [1, 2, 3]
    assert all(0 <= work.wait_s < 5 for work in rest)


# Several sets, selections, packing.


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of every level."""
    folder = tmp_path_factory.mktemp("five")
    made: dict[str, tuple[str, list[ToySample]]] = {
        "caption": ("image_text", captioned(30)),
        "rec": ("grounded", grounded(30, seed=100)),
        "dialogue": ("dialogue", dialogues(30, seed=200)),
        "document": ("document", documents(30, seed=300)),
        "text": ("text", texts(30, seed=400)),
    }
    return {
        task: write_run(folder / task, samples, level=level)
        for task, (level, samples) in made.items()
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_sets_of_every_level_in_one_run(
    five: dict[str, Path], tokenizer: str, workers: int
) -> None:
    data = ",".join(f"{task}={folder}" for task, folder in five.items())
    plan = plan_of(data, tokenizer, global_batch=5 * STREAMS)
    check(plan.components)
    found = works(plan, range(5), workers=workers)
    set_of = {key: task for task, folder in five.items() for key in keys_in(folder)}
    skips = [skip for work in found for skip in work.skipped]
    # Scenes with two squares: neither is the square.
    assert {(set_of[skip.key], skip.reason, skip.detail) for skip in skips} == {
        ("rec", SkipReason.NO_PHRASE, "same_head, same_head")
    }
    drawn = Counter(set_of[key] for work in found for key in work.keys)
    drawn["rec"] += len(skips)
    expected = Counter(
        plan.components[draw.dataset].task
        for step in range(5)
        for stream in range(STREAMS)
        for draw in plan.schedule.draws(stream, step)
        if draw
    )
    assert drawn == expected
    assert {*drawn} == {*five} and drawn.total() == 5 * 60
    alone = works(plan, range(5))
    assert all(itertools.starmap(are_equal, zip(found, alone, strict=True)))


def test_steps_without_any_image(five: dict[str, Path], tokenizer: str) -> None:
    (work, *_) = works(plan_of(f"text={five['text']}", tokenizer), micro_batch=12)
    assert work.images == 0
    assert len(work.batches[0].images_ICHW) == 0


def test_a_selection_is_honoured(run: Path, tmp_path: Path, tokenizer: str) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    select(folder, "third", every=3)
    spec = f"{folder}@third"
    found = works(plan_of(spec, tokenizer), workers=2)
    seen = [key for work in found for key in work.keys]
    assert sorted(seen) == sorted(keys_in(spec))
    assert 0 < len(seen) < 25
    assert {*seen} < {*keys_in(folder)}


@pytest.mark.parametrize(
    ("level", "task", "told"),
    [
        (
            "caption",
            "rec",
            "holds image_text samples, but task rec needs grounded; give another task, or ground "
            "the run first",
        ),
        (
            "rec",
            "dialogue",
            "holds grounded samples, but task dialogue needs dialogue; give another task, or "
            "other shards",
        ),
        (
            "text",
            "caption",
            "holds text samples, but task caption needs image_text or grounded; give another "
            "task, or other shards",
        ),
        ("caption", "text", "holds image_text samples, but task text needs text; give another"),
    ],
)
def test_a_task_that_the_samples_are_not_for(
    five: dict[str, Path], level: str, task: str, told: str
) -> None:
    with pytest.raises(ValueError) as caught:
        check(open_mixture(f"{five['caption']},{task}={five[level]}", "caption"))
    assert str(caught.value).startswith(f"{five[level]} {told}")


@pytest.mark.parametrize("workers", [0, 2])
def test_packed_rows(run: Path, alone: list[Work], tokenizer: str, workers: int) -> None:
    changes = {"streams": 4, "global_batch": 24, "pack_tokens": 200}
    plan = plan_of(str(run), tokenizer, **changes)
    found = works(plan, workers=workers)
    batches = [batch for work in found for batch in work.batches]
    assert sorted(key for work in found for key in work.keys) == sorted(keys_in(run))
    assert max(batch.ids_BL.shape[1] for batch in batches) <= 200
    assert sum(len(batch.ids_BL) for batch in batches) < 30 < 45
    assert sum(work.tokens for work in found) == sum(work.tokens for work in alone)
    assert sum(work.images for work in found) == 45
    unpacked = works(replace(plan, pack_tokens=0))
    assert [work.keys for work in found] == [work.keys for work in unpacked]


def test_what_is_longer_than_a_row_is_named(run: Path, alone: list[Work], tokenizer: str) -> None:
    lengths = {
        key: int((row != MODEL.pad_id).sum()) + MODEL.span_size
        for work in alone
        for key, row in zip(
            work.keys, (row for batch in work.batches for row in batch.ids_BL), strict=True
        )
    }
    limit = sorted(lengths.values())[-10]
    found = works(plan_of(str(run), tokenizer, pack_tokens=limit))
    skips = [skip for work in found for skip in work.skipped]
    assert {skip.key for skip in skips} == {key for key, size in lengths.items() if size > limit}
    assert {skip.reason for skip in skips} == {SkipReason.DOES_NOT_FIT}
    assert all(f"tokens in rows of {limit}" in skip.detail for skip in skips)


# The small things.


def test_a_blank_batch_has_no_image_and_no_target() -> None:
    batch = blank(MODEL)
    assert len(batch.images_ICHW) == 0
    assert set(batch.labels_BL.flatten().tolist()) == {IGNORE}


def test_a_key_sum_is_that_of_the_set() -> None:
    def key_sum(*keys: str) -> int:
        return Work(0, (), keys, 0, 0, 0, 0, ()).key_sum

    assert key_sum("a", "b") == key_sum("b", "a") == (key_sum("a") + key_sum("b")) % 2**62
    assert key_sum("a", "a") != key_sum("a") != key_sum("b")


def test_work_of_nothing_has_no_batch(plan: DataPlan) -> None:
    work = work_of([Part(0, {1: []}, 3, ()), Part(0, {0: []}, 3, ())], plan, 4)
    assert (work.batches, work.keys, work.empty) == ((), (), 6)


def test_the_identity_of_a_plan_is_what_gives_steps_their_samples(
    plan: DataPlan, run: Path, tmp_path: Path, tokenizer: str
) -> None:
    moved = shutil.copytree(run, tmp_path / "moved")
    same = plan_of(str(moved), tokenizer, template="base", error_budget=1, pack_tokens=9)
    assert same.identity() == plan.identity()
    for change in ({"seed": 4}, {"window": 3}, {"streams": 6}, {"global_batch": 24}):
        assert replace(plan, **change).identity() != plan.identity()


def test_a_tokenizer_is_a_file_or_its_folder(tokenizer: str) -> None:
    assert tokenizer_file(str(Path(tokenizer).parent)) == tokenizer_file(tokenizer) == tokenizer
