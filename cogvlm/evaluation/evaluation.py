"""One evaluation: a shard set and a task in, numbers and answers out."""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cogvlm.data import tasks
from cogvlm.data.augment import Augment
from cogvlm.data.sequences import SampleMaker
from cogvlm.evaluation import answering, scoring
from cogvlm.evaluation.answering import Answered, Answerer, ImagesOf
from cogvlm.evaluation.entries import MAX_NEW_TOKENS, PERPLEXITY, Entry
from cogvlm.evaluation.pictures import Own, Shots, Shuffled, shuffled_samples
from cogvlm.evaluation.prompts import Prompter, template_for
from cogvlm.evaluation.questions import Asked, Maker, Question, Task, ask, check_level
from cogvlm.evaluation.scoring import Score
from cogvlm.evaluation.subject import Subject
from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import Dataset
from shards.suggest import suggest

Blind = Literal["shuffled", "constant"]

# perplexity without a task: what samples of a level are mostly trained on.
_BY_LEVEL: Mapping[str, str] = {
    "image_text": "caption",
    "grounded": "grounded_caption",
    "dialogue": "dialogue",
    "document": "document",
    "text": "text",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How all evaluations of a call are done."""

    limit: int | None = None
    """Questions of each evaluation; None: all."""
    batch: int = 8
    """Prompts that are answered together."""
    max_new_tokens: int | None = None
    """Of an answer; None: as the task needs."""
    blind: Blind | None = None
    """Without its image: that of another sample, or one constant answer."""
    all_phrases: bool = False
    """rec asks for every phrase of a sample, not for one."""
    shots: int = 0
    """Examples before each question."""
    shots_from: str | None = None
    """Shard set of the examples; None: the evaluated one."""

    def __post_init__(self) -> None:
        for name in ("limit", "batch", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} is {value}; it must be at least 1")
        if self.shots < 0:
            raise ValueError(f"--shots is {self.shots}; it must be 0 or more")


@dataclass(frozen=True)
class Answer:
    """A line of the dump."""

    key: str
    source_key: str | None  # the set's own id: a judge may know no other
    question: str
    answer: str
    reference: Sequence[str]
    score: float


@dataclass(frozen=True)
class Result:
    """One evaluation's outcome."""

    task: str
    data: Mapping[str, Any]  # spec, fingerprint, samples
    questions: int
    metrics: Mapping[str, Any]
    template: str | None
    shots: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)  # samples left out, by reason
    ambiguous: Mapping[str, int] = field(default_factory=dict)  # phrases not asked for
    unparsable: Mapping[str, int] = field(default_factory=dict)  # answers; wrong
    unanswered: Mapping[str, int] = field(default_factory=dict)  # prompts too long; wrong
    answers: Sequence[Answer] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data without the answers; metrics stand beside the counts."""
        values = {name: each for name, each in vars(self).items() if name not in _APART}
        return {**values, **self.metrics}


_APART = ("answers", "metrics")


def evaluate(entry: Entry, dataset: Dataset, subject: Subject | None, options: Options) -> Result:
    """Evaluate a model on a shard set.

    Args:
        entry: Says the task.
        dataset: Its shard set, opened.
        subject: The model; None with `blind` constant, which needs none.
        options: How.

    Raises:
        ValueError: Task and shard set, or the options, do not fit.
    """
    check(entry, dataset, options)
    if entry.task.startswith(PERPLEXITY):
        assert subject is not None
        return _perplexity(entry, dataset, subject, options)
    task = _task(entry)
    training = tasks.TaskOptions() if subject is None else subject.options
    asked = ask(dataset, task, training, all_phrases=options.all_phrases, limit=options.limit)
    if options.blind == "constant":
        constant = scoring.constant_answer(task, asked.questions)
        answered = Answered(asked.questions, [constant] * len(asked.questions))
        return _result(entry, dataset, asked, answered, None, options)
    assert subject is not None
    template = template_for(task, subject.template, training)
    answerer = Answerer(
        model=subject.model,
        prompter=Prompter(subject.tokenizer, subject.model.config, template),
        images=_images(dataset, asked.questions, options),
        shots=_shots(dataset, task, training, options),
        batch=options.batch,
    )
    if task == "choice_likelihood":
        answered = answerer.weigh(asked.questions)
    else:
        answered = answerer.answer(asked.questions, options.max_new_tokens or MAX_NEW_TOKENS[task])
    return _result(entry, dataset, asked, answered, template, options)


def check(entry: Entry, dataset: Dataset, options: Options) -> None:
    """Raise ValueError where an evaluation cannot be done; before a model is loaded."""
    if entry.task.startswith(PERPLEXITY):
        task = _trained_task(entry, dataset)
        levels = tasks.TASKS[task].levels
        if dataset.level not in levels:
            raise ValueError(
                f"{dataset.spec} holds {dataset.level} samples, but {task} needs "
                f"{' or '.join(levels)}"
            )
        if options.shots or options.blind == "constant":
            raise ValueError(f"{entry.task} takes neither --shots nor --blind constant")
        return
    check_level(dataset, entry.task)
    if options.blind == "constant" and entry.task not in scoring.CONSTANT:
        raise ValueError(f"--blind constant does not work for {entry.task}; use --blind shuffled")


def _result(
    entry: Entry,
    dataset: Dataset,
    asked: Asked,
    answered: Answered,
    template: str | None,
    options: Options,
) -> Result:
    if not answered.questions:
        why = ", ".join(f"{reason} {count}" for reason, count in answered.left_out.items())
        raise ValueError(f"{dataset.spec}: no question could be asked ({why})")
    if answered.nats:
        score, texts = scoring.likelihoods(answered.questions, answered.nats)
    else:
        texts = answered.answers
        score = scoring.score(entry.task, answered.questions, texts)
    return Result(
        task=entry.task,
        data=_data(dataset),
        questions=len(answered.questions),
        metrics=score.metrics,
        template=template,
        shots=options.shots,
        skipped=dict(asked.skipped + answered.left_out),
        ambiguous=dict(asked.ambiguous),
        unparsable=score.unparsable,
        unanswered=dict(answered.unanswered),
        answers=_answers(answered.questions, texts, score),
    )


def _answers(questions: Sequence[Question], texts: Sequence[str], score: Score) -> list[Answer]:
    return [
        Answer(each.key, each.source_key, each.text, answer, each.references, value)
        for each, answer, value in zip(questions, texts, score.scores, strict=True)
    ]


def _perplexity(entry: Entry, dataset: Dataset, subject: Subject, options: Options) -> Result:
    task = _trained_task(entry, dataset)
    template = subject.template
    maker = SampleMaker(subject.tokenizer, template, Augment(), seed=0, options=subject.options)
    samples = itertools.islice(_samples(dataset, options), options.limit)
    measured = answering.perplexity(subject.model, maker, task, samples, options.batch)
    if not measured.targets:
        raise ValueError(f"{dataset.spec}: no sample gives a target ({dict(measured.left_out)})")
    nats = measured.nats / measured.targets
    return Result(
        task=entry.task,
        data=_data(dataset),
        questions=measured.samples,
        metrics={
            "nats_per_target": nats,
            "perplexity": math.exp(nats) if nats < 700 else None,
            "targets": measured.targets,
            "trained_as": task,
        },
        template=template,
        skipped=dict(measured.left_out),
    )


def _samples(dataset: Dataset, options: Options) -> Iterator[RawSample | SampleError]:
    reader = SampleReader(dataset)
    places = [(shard, row) for shard, rows in enumerate(dataset.counts) for row in range(rows)]
    if options.blind == "shuffled":
        return shuffled_samples(reader, places)
    return reader.read_many(places)


def _images(dataset: Dataset, questions: Sequence[Question], options: Options) -> ImagesOf:
    reader = SampleReader(dataset)
    return Shuffled(reader, questions) if options.blind == "shuffled" else Own(reader)


def _shots(
    dataset: Dataset, task: Task, training: tasks.TaskOptions, options: Options
) -> Shots | None:
    if not options.shots:
        return None
    from shards.dataset import open_dataset

    source = open_dataset(options.shots_from) if options.shots_from else dataset
    check_level(source, task)
    return Shots(source, Maker(task, training), options.shots)


def _task(entry: Entry) -> Task:
    assert entry.task in typing.get_args(Task)
    return typing.cast(Task, entry.task)


def _trained_task(entry: Entry, dataset: Dataset) -> str:
    name = entry.task.removeprefix(PERPLEXITY).removeprefix("_") or _BY_LEVEL[dataset.level]
    if name not in tasks.TASKS:
        hint = suggest(name, tasks.TASKS)
        raise ValueError(f"--data {entry.task}: unknown task {name!r}; {hint}")
    return name


def _data(dataset: Dataset) -> dict[str, Any]:
    return {
        "spec": dataset.spec,
        "fingerprint": dataset.fingerprint,
        "samples": dataset.samples,
    }
