"""The command from a checkpoint and shards to numbers; a model that knows, seeing and blind."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.cogvlm import toy_tokenizer
from helpers.cogvlm.tiny_models import built
from helpers.cogvlm.training import finish
from helpers.shards.toy_shards import ToySample, captioned, dialogues, grounded, write_run

from cogvlm import evaluate
from cogvlm.checkpoints import checkpoint
from cogvlm.data.pixels import preprocess
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.evaluation import answering, verify
from cogvlm.evaluation.questions import Task, ask
from cogvlm.model.decoder import CogVLM
from cogvlm.model.layout import Sample, collate
from cogvlm.model.variants.small import debug
from shards import SampleReader, open_dataset
from shards.image import decode

ASK = {"role": "user", "content": "Which?", "choices": ["red", "blue", "green"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model and shards of two levels."""
    folder = tmp_path_factory.mktemp("evaluate")
    config = replace(debug(), max_positions=256, vocab_size=300)
    checkpoint.save(built(config), folder / "model")
    shutil.copy(toy_tokenizer.write(folder / "words"), folder / "model")
    write_run(folder / "grounded", grounded(10), level="grounded")
    write_run(folder / "dialogue", dialogues(6), level="dialogue")
    samples = [
        ToySample(
            each.caption,
            each.images,
            {"conversations": [ASK, {"role": "assistant", "content": answer}]},
        )
        for each, answer in zip(captioned(3), ("red", "B", "green"), strict=True)
    ]
    write_run(folder / "choices", samples, level="dialogue")
    answers = [[ASK, {"role": "assistant", "content": each}] for each in ("yes", "No", "yes")]
    samples = [
        ToySample(each.caption, each.images, {"conversations": said})
        for each, said in zip(captioned(3, seed=9), answers, strict=True)
    ]
    write_run(folder / "yes_no", samples, level="dialogue")
    return folder


def call(folder: Path, data: str, *flags: object) -> dict:
    """Run the command; return what it wrote as JSON."""
    told = folder / "told.json"
    entries = ",".join(f"{task}={folder / run}" for task, run in _pairs(data))
    arguments = ["--checkpoint", folder / "model", "--data", entries, "--json", told, *flags]
    assert evaluate.main([*map(str, arguments)]) == 0
    return json.loads(told.read_text())


def _pairs(data: str) -> list[list[str]]:
    return [each.split("=") for each in data.split()]


def test_a_random_model_end_to_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = folder / "dump.jsonl"
    data = "rec=grounded grounded_caption=grounded caption=grounded vqa=dialogue"
    data += " choice=choices choice_likelihood=choices yes_no=yes_no anls=dialogue exact=dialogue"
    told = call(folder, data, "--max_new_tokens", 6, "--dump", dump, "--batch", 5)
    lines = [json.loads(line) for line in dump.read_text().splitlines()]
    assert len(lines) == sum(each["questions"] for each in told["entries"])
    assert {*lines[0]} == {
        *("task", "key", "source_key", "question", "answer", "reference", "score"),
    }
    assert [each["task"] for each in told["entries"]] == [task for task, _ in _pairs(data)]
    rec = told["entries"][0]
    assert rec["accuracy"] == 0
    assert sum(rec["unparsable"].values()) == rec["questions"]
    fingerprint = open_dataset(folder / "grounded").fingerprint
    assert rec["data"]["fingerprint"] == fingerprint
    assert len(told["model"]["fingerprint"]) == 64
    assert told["model"]["weights"] == "stored"
    said = capsys.readouterr().out
    assert "chance.constant_box.accuracy" in said
    assert f"unparsable answers, wrong: {rec['questions']}" in said
    assert "overlap with the training data: unknown" in said


@pytest.mark.parametrize("length", [5, 215])  # the second leaves long prompts no room
def test_the_batch_size_changes_nothing(folder: Path, length: int) -> None:
    answers = []
    for batch in (1, 4):
        dump = folder / f"batch{batch}"
        call(folder, "vqa=dialogue", "--max_new_tokens", length, "--batch", batch, "--dump", dump)
        answers.append(dump.read_text())
    assert answers[0] == answers[1]


def knowing(folder: Path, task: Task, run: str) -> dict[bytes, dict[tuple[int, ...], str]]:
    """Return the right answers by image and by the ids of the question."""
    dataset = open_dataset(folder / run)
    words, vision = Tokenizer(folder / "model"), debug().vision
    reader = SampleReader(dataset)
    known: dict[bytes, dict[tuple[int, ...], str]] = {}
    for each in ask(dataset, task, all_phrases=True).questions:
        image = preprocess(decode(reader.read(*each.place).images[0]), vision)
        ids = tuple(words.encode(each.text))
        known.setdefault(image.numpy().tobytes(), {})[ids] = each.truth
    return known


@pytest.mark.parametrize(
    ("task", "run", "name", "most"),
    [
        ("rec", "grounded", "accuracy", 1),
        ("grounded_caption", "grounded", "recall", 1),
        ("grounded_caption", "grounded", "caption_exact", 1),
        ("caption", "grounded", "cider", 1000),
        ("choice", "choices", "accuracy", 1),
        ("yes_no", "yes_no", "accuracy", 1),
    ],
)
def test_who_knows_scores_the_maximum_and_less_when_blind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, task: Task, run: str, name: str, most: float
) -> None:
    known = knowing(folder, task, run)

    def truth(model: CogVLM, samples: Sequence[Sample], *_: object) -> list[str]:
        said = []
        for sample in samples:
            there = known[sample.images[0].numpy().tobytes()]
            question = tuple(sample.ids[sample.spans[0][1] :])
            said.append(there.get(question, next(iter(there.values()))))
        return said

    monkeypatch.setattr(answering, "answers", truth)
    (seeing,) = call(folder, f"{task}={run}", "--all_phrases")["entries"]
    assert seeing[name] == pytest.approx(most)
    (blind,) = call(folder, f"{task}={run}", "--all_phrases", "--blind", "shuffled")["entries"]
    assert blind[name] < most
    assert blind["questions"] == seeing["questions"]


def test_a_constant_answer_needs_no_model(folder: Path) -> None:
    told = folder / "constant.json"
    data = f"rec={folder / 'grounded'},yes_no={folder / 'yes_no'}"
    assert evaluate.main(["--data", data, "--blind", "constant", "--json", str(told)]) == 0
    rec, yes_no = json.loads(told.read_text())["entries"]
    chance = rec["chance"]["constant_box"]["accuracy"]
    assert rec["accuracy"] == pytest.approx(chance)
    assert yes_no["accuracy"] == pytest.approx(2 / 3)


def test_shots_stand_before_the_question_with_their_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[Sample] = []

    def kept(model: CogVLM, samples: Sequence[Sample], *_: object) -> list[str]:
        prompts.extend(samples)
        return ["x" for _ in samples]

    monkeypatch.setattr(answering, "answers", kept)
    call(folder, "rec=grounded", "--shots", 2, "--limit", 2, "--batch", 1, "--template", "chat")
    words = Tokenizer(folder / "model")
    for prompt in prompts:
        assert len(prompt.images) == len(prompt.spans) == 3
        pieces = [
            words.decode(prompt.ids[start:end])
            for (_, start), (end, _) in zip(
                prompt.spans, [*prompt.spans[1:], (len(prompt.ids), 0)], strict=True
            )
        ]
        *examples, question = pieces
        assert all(each.startswith("Question: Where is the ") for each in pieces)
        assert all(each.rstrip().endswith("]]") for each in examples)
        assert question.endswith("? Answer:")


def test_prompts_too_long_are_wrong_and_counted(folder: Path) -> None:
    room = replace(debug(), max_positions=debug().span_size + 9, vocab_size=300)
    checkpoint.save(built(room), folder / "short")
    shutil.copy(folder / "words/tokenizer.json", folder / "short")
    told = folder / "short.json"
    data = f"rec={folder / 'grounded'}"
    arguments = ["--checkpoint", folder / "short", "--data", data, "--json", told]
    assert evaluate.main([*map(str, arguments)]) == 0
    (rec,) = json.loads(told.read_text())["entries"]
    assert rec["unanswered"] == {"does_not_fit": rec["questions"]}
    assert rec["accuracy"] == 0


@torch.no_grad()
def test_losses_are_those_of_the_model(folder: Path) -> None:
    told = call(folder, "perplexity_caption=grounded perplexity=dialogue", "--batch", 3)
    alone = call(folder, "perplexity_caption=grounded", "--batch", 1)
    first, second = told["entries"]
    assert first["nats_per_target"] == pytest.approx(
        alone["entries"][0]["nats_per_target"], rel=1e-4
    )
    assert first["perplexity"] == pytest.approx(math.exp(first["nats_per_target"]))
    assert (first["trained_as"], second["trained_as"]) == ("caption", "dialogue")
    model = built(replace(debug(), vocab_size=300)).eval()
    sample = Sample([1, 5, 6, 7], [-100, -100, 6, 7])
    nats, targets = answering.losses(model, [sample])
    logits = model(collate([[sample]], model.config))[0].log_softmax(-1)
    assert targets == 2
    assert nats == pytest.approx(-float(logits[1, 6] + logits[2, 7]), rel=1e-4)


def test_what_was_trained_on_is_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two of the ten are the same samples, one more has another caption for the same image.
    samples = grounded(10)
    training = [*samples[:2], replace(samples[2], caption="another caption", fields={})]
    for each, other in zip(samples[2].images, training[2].images, strict=True):
        assert each == other
    write_run(tmp_path / "training", [*training, *grounded(3, seed=50)], level="grounded")
    told = call(folder, "rec=grounded", "--limit", 1, "--max_new_tokens", 2, "--training_data",
                tmp_path / "training")  # fmt: skip
    (shared,) = told["overlap"]["shared"].values()
    assert shared == {
        "keys": 10, "images": 10, "keys_trained_on": 2, "images_trained_on": 3
    }  # fmt: skip
    assert "2 of 10 keys, 3 of 10 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data", "rec"], "give task=RUN"),
        (["--data", "rec={folder}/dialogue"], "holds dialogue samples, but rec needs grounded"),
        (["--data", "perplexity_x=x"], "x"),
        (["--data", "rec={folder}/grounded", "--limit", "0"], "--limit is 0"),
        (["--data", "rec={folder}/grounded", "--json", "no/such/x"], "its folder does not exist"),
        (["--data", "rec={folder}/grounded", "--step", "3"], "is not a training run"),
        (
            ["--data", "rec={folder}/grounded", "--template", "odd"],
            "odd is unknown; known: base",
        ),
        (
            ["--data", "caption={folder}/grounded", "--blind", "constant"],
            "not work for caption",
        ),
        (["--data", "perplexity={folder}/grounded", "--shots", "1"], "takes neither --shots"),
    ],
)
def test_what_cannot_be(
    folder: Path, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [each.format(folder=folder) for each in flags]
    assert evaluate.main(["--checkpoint", str(folder / "model"), *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_no_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--data", f"rec={folder / 'grounded'}"]) == 2
    assert "--checkpoint is missing" in capsys.readouterr().err


def test_verify_refuses_politely(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, run = str(folder / "model"), str(folder / "grounded")
    for arguments, told in (
        ([], "CHECKPOINT is not set. RefCOCO val, accuracy@0.5: must be 92.76 ± 0.3"),
        (["--checkpoint", "gone"], "CHECKPOINT=gone: there is no such folder"),
        (["--checkpoint", model], "REFCOCO is not set"),
        (["--checkpoint", model, "--refcoco", str(folder / "dialogue")], "holds dialogue samples"),
        (["--checkpoint", model, "--refcoco", str(folder / "gone")], "gone"),
    ):
        assert verify.main(arguments) == 2
        assert told in capsys.readouterr().err
    flags = ["--checkpoint", model, "--refcoco", run, "--limit", "2"]
    assert verify.main(flags) == 1
    assert "no verdict: only 2 expressions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("percent", "word"),
    [(92.76, "reached"), (92.46, "reached"), (92.4, "NOT reached"), (93.2, "NOT confirmed")],
)
def test_verdicts(percent: float, word: str) -> None:
    assert verify.verdict(percent).startswith(word)


def test_a_training_run_is_named_and_its_own_data_looked_through(folder: Path) -> None:
    run = folder / "run"
    data = f"rec={folder / 'grounded'}"
    finish("--preset", "debug", "--output", run, "--data", data, "--tokenizer", folder / "words",
           "--override", "vocab_size=300", "--steps", 2, "--warmup_steps", 1, "--ema", 0.9,
           "--global_batch", 2, "--micro_batch", 2, "--workers", 0, "--snapshot_every", 1,
           "--template", "chat", "--task_prefix")  # fmt: skip
    fingerprints = set()
    for flags in ((), ("--weights", "raw"), ("--weights", "raw", "--step", 1)):
        told = call(folder, "rec=grounded", "--checkpoint", run, "--limit", 2,
                    "--max_new_tokens", 2, "--dump", folder / "run.jsonl", *flags)  # fmt: skip
        fingerprints.add(told["model"]["fingerprint"])
        (shared,) = told["overlap"]["shared"].values()
        assert shared["keys_trained_on"] == shared["keys"] == 10
        assert told["entries"][0]["template"] == "chat"
    assert len(fingerprints) == 3
    assert (told["model"]["weights"], told["model"]["step"]) == ("raw", 1)
    line = json.loads((folder / "run.jsonl").read_text().splitlines()[0])
    assert line["question"].startswith("rec: Where is ")
