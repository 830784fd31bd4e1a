"""What a training run does besides resuming: refusals, resolution, validation, LoRA, failures."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.cogvlm import toy_tokenizer
from helpers.cogvlm.training import Training, steps, weights
from helpers.shards import toy_shards

from cogvlm import train
from cogvlm.checkpoints import opened, snapshots
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.training import distributed, loop, prepare, start
from cogvlm.training.watch import read_log

Run = Callable[..., int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with shard sets `pairs` and `boxes` and a tokenizer."""
    place = tmp_path_factory.mktemp("data")
    toy_shards.write_run(place / "pairs", toy_shards.captioned(40), shard_size=16)
    toy_shards.write_run(place / "boxes", toy_shards.grounded(40), level="grounded", shard_size=16)
    toy_tokenizer.write(place / "words")
    return place


@pytest.fixture
def flags(folder: Path, tmp_path: Path) -> tuple[str, ...]:
    return (
        *("--preset", "debug", "--data", str(folder / "pairs")),
        *("--tokenizer", str(folder / "words"), "--override", "vocab_size=512"),
        *("--steps", "3", "--warmup_steps", "1", "--workers", "0", "--global_batch", "8"),
        *("--snapshot_every", "100", "--output", str(tmp_path / "out")),
    )


@pytest.fixture(autouse=True)
def quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()


def events(run: Path, kind: str) -> list[dict]:
    return [line for line in read_log(run) if line["kind"] == kind]


def test_only_the_groups_that_train_change(flags: tuple[str, ...], tmp_path: Path) -> None:
    assert train.main([*flags, "--trains", "expert", "adapter", "--ema", "0"]) == 0
    changed = changed_groups(weights(tmp_path / "out", "raw"), fresh(flags))
    assert changed == {"expert", "adapter"}


def fresh(flags: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return the weights that a run with these flags begins with."""
    from cogvlm.model import init

    config, _ = train.parse([*flags])
    model = prepare.model_config(config)
    return dict(init.build(model, seed=config.seed).named_parameters())


def changed_groups(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> set[str]:
    from cogvlm.model.groups import group_of

    return {group_of(name) for name in before if not torch.equal(after[name], before[name])}


def test_weights_that_no_loss_sees_are_not_decayed(flags: tuple[str, ...], tmp_path: Path) -> None:
    assert train.main([*flags, "--weight_decay", "0.5", "--lr", "0.01"]) == 0
    after, before = weights(tmp_path / "out", "raw"), fresh(flags)
    unseen = [name for name in before if name.startswith("model.layers.1.mlp.vision_mlp.")]
    assert len(unseen) == 3
    assert all(torch.equal(after[name], before[name]) for name in unseen)


def test_resolution_changes_at_its_step_and_keeps_the_optimiser(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    config, _ = train.parse([*flags, "--resize_at", "2", "84", "--steps", "4"])
    prepared = prepare.prepare(config, 1)
    with distributed.world("cpu") as world, start.started(prepared, world) as run:
        loop.train(run)
        assert run.model.config.vision.image_size == 84
        table = dict(run.model.named_parameters())[
            "model.vision.patch_embedding.position_embedding.weight"
        ]
        assert len(table) == 6 * 6 + 1
        moments = run.state()["exp_avg"]["lm_head.weight"]
        assert float(moments.full_tensor().abs().sum()) > 0  # type: ignore[attr-defined]
        assert float(run.optimizer.state[run.model.lm_head.weight]["step"]) == 4  # type: ignore[union-attr]
    assert events(tmp_path / "out", "resolution")[0]["px"] == 84
    reopened = opened.open_model(tmp_path / "out", dtype=None)
    assert reopened.config.vision.image_size == 84


def test_a_run_that_ended_before_the_change_goes_on_at_the_new_size(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    longer = [*flags, "--steps", "4", "--resize_at", "2", "84"]
    straight = [*longer, "--output", str(tmp_path / "straight")]
    assert train.main(straight) == 0
    config, _ = train.parse(longer)
    stop_after(prepare.prepare(config, 1), 2)
    assert train.main(longer) == 0
    assert steps(tmp_path / "out") == steps(tmp_path / "straight")


def stop_after(prepared: prepare.Prepared, step: int) -> None:
    """Run some steps of a longer run and save."""
    with distributed.world("cpu") as world, start.started(prepared, world) as run:
        for work in loop.loader(prepared.plan, steps=range(step), micro_batch=8):
            report, _ = loop.step(run, work)
            run.watch.step(report)
        loop.save(run, None)
        run.writer.wait()


def test_validation_measures_raw_and_averaged_weights_and_the_best_stays(
    flags: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    validated = ["--val_data", str(folder / "pairs"), "--val_every", "1", "--val_samples", "16"]
    often = ["--snapshot_every", "1", "--keep", "1", "--lr", "0.02"]
    assert train.main([*flags, *validated, *often, "--steps", "5"]) == 0
    told = events(tmp_path / "out", "validation")
    assert [each["step"] for each in told] == [1, 2, 3, 4, 5]
    assert all(each["raw"] != each["ema"] for each in told)
    best = min(told, key=lambda each: each["ema"])["step"]
    assert {each.step for each in snapshots.snapshots_of(tmp_path / "out")} == {best, 5}


def test_low_rank_differences_train_alone_and_are_merged_on_reading(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    lora = ["--lora_rank", "4", "--trains", "lora", "--ema", "0", "--lr", "0.01"]
    assert train.main([*flags, *lora]) == 0
    after, before = weights(tmp_path / "out", "raw"), fresh(flags)
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed == {
        name for name in before if "language_expert_" in name or "language_mlp" in name
    }


def test_a_run_starts_from_another_runs_averaged_weights(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    assert train.main([*flags]) == 0
    again = [*without(flags, "--override", "--tokenizer"), "--model", ""]
    again += ["--init", str(tmp_path / "out"), "--output", str(tmp_path / "next")]
    config, _ = train.parse(again)
    prepared = prepare.prepare(config, 1)
    averaged = weights(tmp_path / "out", "ema")
    with distributed.world("cpu") as world, start.started(prepared, world) as run:
        for name, parameter in run.model.named_parameters():
            assert torch.equal(parameter.full_tensor(), averaged[name])  # type: ignore[attr-defined]


def without(flags: tuple[str, ...], *names: str) -> list[str]:
    pairs = zip(flags[::2], flags[1::2], strict=True)
    return [each for name, value in pairs if name not in names for each in (name, value)]


def test_packed_rows_give_the_same_loss(flags: tuple[str, ...], tmp_path: Path) -> None:
    assert train.main([*flags, "--streams", "1"]) == 0
    packed = [*flags, "--streams", "1", "--output", str(tmp_path / "packed")]
    assert train.main([*packed, "--pack_tokens", "160"]) == 0
    plain = [loss for _, loss, _ in steps(tmp_path / "out")]
    assert [loss for _, loss, _ in steps(tmp_path / "packed")] == pytest.approx(plain, rel=1e-5)


def test_activation_checkpointing_changes_no_bit(flags: tuple[str, ...], tmp_path: Path) -> None:
    assert train.main([*flags, "--dropout", "0.1"]) == 0
    again = [*flags, "--dropout", "0.1", "--checkpoint_activations", "both"]
    assert train.main([*again, "--output", str(tmp_path / "again")]) == 0
    assert steps(tmp_path / "again") == steps(tmp_path / "out")


def test_values_that_are_not_finite_are_skipped_counted_and_end_the_run(
    flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["--lr", "1e30", "--steps", "9", "--nonfinite_budget", "2", "--clip", "0"]
    assert train.main([*flags, *wild]) == 2
    assert "updates were skipped" in capsys.readouterr().err
    skipped = [line for line in read_log(tmp_path / "out") if line.get("skipped_update")]
    assert len(skipped) == 2  # the third ended the run


def test_deterministic_mode_runs(flags: tuple[str, ...], tmp_path: Path) -> None:
    try:
        assert train.main([*flags, "--deterministic"]) == 0
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(steps(tmp_path / "out")) == 3


REFUSALS = {
    "no such shard set": (["--data", "{folder}/nothing"], "nothing: there is no such folder"),
    "all weights 0": (["--data", "{folder}/pairs:0"], "every weight is 0"),
    "unknown task": (["--data", "sing={folder}/pairs"], "unknown task 'sing'; known: dialogue, "),
    "task with a typo": (["--task", "captoin"], "--task captoin is unknown; did you mean caption?"),
    "template with a typo": (["--template=chta"], "--template chta is unknown; did you mean chat?"),
    "grounding on plain pairs": (
        ["--data", "rec={folder}/pairs"],
        "holds image_text samples, but task rec needs grounded",
    ),
    "image does not fit the context": (
        ["--override", "vocab_size=512", "max_positions=18"],
        "an image of 56 px takes 18 tokens, the model's context is 18",
    ),
    "tokenizer larger than the model": (["--override", "vocab_size=100"], "tokens, the model 100"),
    "unknown model setting": (["--override", "expert.layer=4"], "write NAME=VALUE"),
    "streams": (["--streams", "3"], "--streams 3 must divide --global_batch 8"),
    "warm-up longer than the run": (["--warmup_steps", "3"], "must be below --steps 3"),
    "unknown group": (["--trains", "experts"], "parameter groups; did you mean expert?"),
    "a bucket for snapshots": (["--output", "gs://bucket/run"], "mount the bucket"),
    "no prompts": (["--prompts", "{folder}/words"], "words has no pool; it may have caption.en"),
    "only negatives": (["--negatives", "1"], "--negatives is 1.0; it must be 0 or more, and below"),
    "no model": (["--model", ""], "--init FOLDER or --model PRESET is missing"),
    "epochs of a mixture": (
        ["--data", "{folder}/pairs,rec={folder}/boxes", "--epochs", "2"],
        "a mixture has no epoch",
    ),
}


@pytest.mark.parametrize(("wrong", "says"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_cannot_be_is_refused_before_anything_is_built(
    wrong: list[str],
    says: str,
    flags: tuple[str, ...],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [each.format(folder=folder) for each in wrong]
    assert train.main([*flags, *given]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


CHANGES = {
    "another architecture": (["--override", "vocab_size=512", "num_layers=3"], "num_layers is 2"),
    "another batch": (["--global_batch", "4"], "global_batch"),
    "another seed": (["--seed", "1"], "trained with seed 0, now it is 1"),
    "other data": (["--data", "{folder}/boxes"], "trained with data"),
    "other groups": (["--trains", "expert"], "no optimiser state"),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=list(CHANGES))
def test_a_folder_goes_on_as_it_began_or_not_at_all(
    change: list[str],
    says: str,
    flags: tuple[str, ...],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.main([*flags, "--steps", "2"]) == 0
    given = [each.format(folder=folder) for each in change]
    assert train.main([*flags, *given]) == 2
    assert says in capsys.readouterr().err


def test_a_half_written_snapshot_is_never_picked_up(flags: tuple[str, ...], tmp_path: Path) -> None:
    assert train.main([*flags, "--steps", "2"]) == 0
    done = snapshots.latest(tmp_path / "out")
    assert done is not None and done.step == 2
    half = done.folder.with_name("step-00000099")
    half.mkdir()
    (half / ".metadata").write_bytes((done.folder / ".metadata").read_bytes())
    assert train.main([*flags]) == 0
    assert [step for step, _, _ in steps(tmp_path / "out")] == [1, 2, 3]
    assert not half.exists()


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with Training(*flags, "--steps", "5000", "--snapshot_every", "3") as training:
        training.wait_for_snapshot(out, 3)
        # From here on no file may grow beyond 200 kB, as if the disk were full.
        resource.prlimit(training.processes[0].pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
        code, said = training.ended()
    assert code == 2
    assert "could not be written" in said and "is intact" in said
    last = snapshots.latest(out)
    assert last is not None
    opened.open_model(out, dtype=None)
    assert train.main([*flags, "--steps", str(last.step + 2)]) == 0


def test_dry_run_tells_the_plan_and_writes_nothing(
    flags: tuple[str, ...], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = f"{folder}/pairs:3,rec={folder}/boxes:1"
    assert train.main([*flags, "--data", mixture, "--dry_run", "--image_size", "84"]) == 0
    said = capsys.readouterr().out
    assert json.loads(said[: said.index("\n}\n") + 2])["global_batch"] == 8
    assert "75.0%" in said and "25.0%" in said
    assert "stored smaller than 84 px: 100.0%" in said
    assert "optimiser (fp32)" in said and "expert" in said
    assert not (tmp_path / "out").exists()


def test_what_is_skipped_is_named_in_the_log(
    flags: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    damaged = toy_shards.captioned(24)
    broken = damaged[5]
    damaged[5] = toy_shards.ToySample(broken.caption, (broken.images[0][:200],), size_px=(64, 64))
    run = toy_shards.write_run(tmp_path / "damaged", damaged, shard_size=8)
    assert train.main([*flags, "--data", str(run)]) == 0
    (skip,) = events(tmp_path / "out", "skip")
    assert (skip["dataset"], skip["reason"]) == (str(run), "image_damaged")
    assert skip["key"] == damaged[5].key
    line = next(each for each in read_log(tmp_path / "out") if each["step"] == skip["step"])
    assert line["empty"] == 1 and line["samples"] == 7
    assert line["skipped"] == {"image_damaged": 1}


def test_what_a_task_has_no_use_for_is_counted_only(flags: tuple[str, ...], tmp_path: Path) -> None:
    plain = [  # grounded samples without a box
        toy_shards.ToySample(each.caption, each.images, {**each.fields, "noun_chunks": []})
        for each in toy_shards.grounded(6)
    ]
    run = toy_shards.write_run(
        tmp_path / "boxes", [*toy_shards.grounded(40, seed=9), *plain], level="grounded"
    )
    assert train.main([*flags, "--data", f"rec={run}", "--epochs", "1"]) == 0
    assert events(tmp_path / "out", "skip") == []
    lines = [each for each in read_log(tmp_path / "out") if each["kind"] == "step"]
    assert sum(each["skipped"].get("no_phrase", 0) for each in lines) >= 6


def test_settings_of_tasks_reach_the_loader_processes(
    flags: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    pool = tmp_path / "mine"
    pool.mkdir()
    (pool / "rec.zh.txt").write_text("{phrase}？\n", encoding="utf-8")
    told = (
        *("--data", f"rec={folder}/boxes", "--workers", "1", "--prompts", str(pool)),
        *("--prompt_language", "zh", "--task_prefix", "--negatives", "0.5"),
        *("--grounding_units", "expressions", "--override", "vocab_size=512"),
    )
    config, _ = train.parse([*flags, *told])
    plan = prepare.prepare(config, 1).plan
    words = Tokenizer(plan.tokenizer)
    works = loop.loader(plan, steps=range(3), micro_batch=8)
    rows = [row for work in works for batch in work.batches for row in batch.ids_BL.tolist()]
    said = [words.decode([each for each in row if each != plan.model.pad_id]) for row in rows]
    assert all("rec: the " in each and "？" in each for each in said)
    negative = ["图中没有。" in each for each in said]
    assert all(each != ("[[" in one) for each, one in zip(negative, said, strict=True))
    assert 4 < sum(negative) < len(said) - 4
    assert train.main([*flags, *told]) == 0
    assert len(steps(tmp_path / "out")) == 3
