"""What is asked of stored samples: one sample gives one question, several, or none with a reason.

Goes in: a shard set and the name of a task. Comes out: `Question`s in the set's order, with what
their answers are compared with. Images stay where they are until they are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cogvlm.data import tasks
from cogvlm.data.segments import IMAGE_MARK
from cogvlm.data.tasks import pools
from cogvlm.evaluation.answers import LETTERS, letter_of, yes_or_no
from shards import boxtext
from shards.access import RawSample, SampleError, SampleReader
from shards.boxtext import Box
from shards.dataset import Dataset

Task = Literal[
    "rec",
    "grounded_caption",
    "grounded_vqa",
    "caption",
    "vqa",
    "exact",
    "choice",
    "choice_likelihood",
    "yes_no",
    "anls",
]

LETTER = "Answer with the letter of the right choice."

_SEED = 0  # of the phrase that is asked for
_DEFAULTS = tasks.TaskOptions()


@dataclass(frozen=True, kw_only=True)
class Question:
    """Something to ask a model, and what it should say."""

    key: str  # of the sample
    place: tuple[int, int]  # shard and row in the shard set
    text: str  # what is asked; may say <image> where an image belongs
    truth: str  # the right answer as a model would write it
    references: tuple[str, ...] = ()  # right answers to compare with, one or several
    boxes_xyxy: tuple[Box, ...] = ()  # rec: all boxes of the phrase; grounded_vqa: of the answer
    phrases: tuple[tuple[str, tuple[Box, ...]], ...] = ()  # grounded_caption: with their boxes
    choices: tuple[str, ...] = ()  # of which one is right
    image_id: str = ""  # shared by the samples of one image
    source_key: str | None = None  # the set's own id


@dataclass
class Asked:
    """All questions of a shard set."""

    questions: list[Question] = field(default_factory=list)
    samples: int = 0  # looked at
    skipped: Counter[str] = field(default_factory=Counter)  # samples without a question, by reason
    ambiguous: Counter[str] = field(default_factory=Counter)  # phrases not asked for, by reason


class UnusableError(Exception):
    """A sample that is nothing for a task; says the reason."""


def ask(
    dataset: Dataset,
    task: Task,
    options: tasks.TaskOptions = _DEFAULTS,
    *,
    all_phrases: bool = False,
    limit: int | None = None,
) -> Asked:
    """Return the questions of a shard set.

    Args:
        dataset: What is asked about.
        task: How.
        options: Of the training; a prompt is the first wording of its pool.
        all_phrases: rec asks for every phrase of a sample, not for one of them.
        limit: Stop after so many questions.

    Raises:
        ValueError: The samples are of a level that the task cannot use, or none gives a question.
    """
    check_level(dataset, task)
    asked = Asked()
    maker = Maker(task, options, all_phrases=all_phrases, ambiguous=asked.ambiguous)
    # References of one caption lie anywhere, so that all are read before some are left out.
    enough = None if task == "caption" else limit
    for place, raw in _samples(dataset):
        if enough is not None and len(asked.questions) >= enough:
            break
        asked.samples += 1
        try:
            if isinstance(raw, SampleError):
                raise raw
            asked.questions += maker.questions(raw, place)
        except (tasks.Skip, SampleError) as error:
            asked.skipped[str(error.reason)] += 1
        except UnusableError as error:
            asked.skipped[str(error)] += 1
    if task == "caption":
        asked.questions = _together(asked.questions)
    if not asked.questions:
        why = ", ".join(f"{reason} {count}" for reason, count in asked.skipped.items())
        raise ValueError(f"{dataset.spec}: no sample gives a question for {task} ({why})")
    asked.questions = asked.questions[:limit]
    return asked


def check_level(dataset: Dataset, task: str) -> None:
    """Raise ValueError where a task cannot use a shard set's samples."""
    if dataset.level not in LEVELS[task]:
        raise ValueError(
            f"{dataset.spec} holds {dataset.level} samples, but {task} needs "
            f"{' or '.join(LEVELS[task])}; give another task or other shards"
        )


@dataclass(frozen=True)
class Maker:
    """Makes the questions of single samples."""

    task: Task
    options: tasks.TaskOptions = _DEFAULTS
    all_phrases: bool = False
    ambiguous: Counter[str] = field(default_factory=Counter)  # is added to

    def questions(self, raw: RawSample, place: tuple[int, int]) -> list[Question]:
        """Return what is asked of a sample, at least one question.

        Raises:
            tasks.Skip: The sample is no good.
            SampleError: Its JSON is damaged.
            UnusableError: It is nothing for this task.
        """
        fields = raw.fields()
        caption = raw.text.decode("utf-8", "replace")
        example = tasks.Example(
            key=raw.key,
            caption=caption,
            images=[],
            fields=fields,
            template="base",
            seed=_SEED,
            epoch=0,
            options=self.options,
        )
        image_id = str(fields.get("image_id") or fields.get("sha256") or raw.key)
        blank = Question(
            key=raw.key,
            place=place,
            text="",
            truth="",
            image_id=image_id,
            source_key=fields.get("source_key"),
        )
        if self.task == "rec":
            return self._rec(example, blank)
        if self.task == "grounded_caption":
            return [self._grounded_caption(example, blank)]
        if self.task == "caption":
            text = self._wording("caption") if self.options.caption_requests else ""
            caption = example.text()
            return [replace(blank, text=text, truth=caption, references=(caption,))]
        questions = _conversation(fields, len(raw.images), blank, _DIALOGUE[self.task])
        if self.task == "grounded_vqa":
            return [
                replace(each, text=self._wording("grounded_vqa", question=each.text))
                for each in questions
            ]
        marker = self._marker("vqa")
        return [replace(each, text=marker + each.text) for each in questions]

    def _rec(self, example: tasks.Example, blank: Question) -> list[Question]:
        phrases = _expression(example)
        if not phrases:
            judged = tasks.judged(example, "rec")
            phrases = [phrase for phrase, reason in judged if reason is None]
            self.ambiguous.update(str(reason) for _, reason in judged if reason is not None)
        if not phrases:
            raise tasks.Skip(tasks.SkipReason.NO_PHRASE)
        if not self.all_phrases:
            phrases = [phrases[example.choose("phrase", len(phrases))]]
        questions = []
        for phrase in phrases:
            rec = tasks.rec_of(example.caption, phrase)
            questions.append(
                replace(
                    blank,
                    text=self._wording("rec", phrase=_plain(rec.expression)),
                    truth=rec.boxes,
                    references=(rec.boxes,),
                    boxes_xyxy=phrase.boxes_xyxy,
                )
            )
        return questions

    def _grounded_caption(self, example: tasks.Example, blank: Question) -> Question:
        captions = tasks.grounded_captions(example)
        if not captions:
            raise tasks.Skip(tasks.SkipReason.NO_PHRASE)
        units = self.options.grounding_units
        phrases = tasks.phrases(example.fields, example.caption, units)
        return replace(
            blank,
            text=self._wording("grounded_caption"),
            truth=captions[0],
            references=(example.caption,),
            phrases=tuple(
                (example.caption[each.start : each.end], each.boxes_xyxy) for each in phrases
            ),
        )

    def _wording(
        self, task: Literal["rec", "grounded_caption", "grounded_vqa", "caption"], **slots: str
    ) -> str:
        """Return the first wording of a pool: evaluation asks everything in the same words."""
        language: pools.Language = "zh" if self.options.prompt_language == "zh" else "en"
        words = tasks.pool(task, language, self.options.prompts)[0]
        return self._marker(task) + words.format(**slots)

    def _marker(self, task: str) -> str:
        return tasks.prefix(task) if self.options.task_prefix else ""


def _expression(example: tasks.Example) -> list[tasks.Phrase]:
    """Return the phrase of a sample that is one referring expression: somebody asked for it.

    No rule says here that it is ambiguous: a benchmark's questions are all asked.
    """
    phrases = tasks.phrases(example.fields, example.caption)
    is_whole = len(phrases) == 1 and (phrases[0].start, phrases[0].end) == (0, len(example.caption))
    return phrases if is_whole else []


def _conversation(
    fields: Mapping[str, Any],
    images: int,
    blank: Question,
    make: Callable[[Question], Question],
) -> list[Question]:
    """Return a question for each question of a conversation, without what was said before it."""
    messages = tasks.conversation(fields)
    roles = [turn.get("role") for turn in messages]
    if not messages or roles != ["user", "assistant"] * (len(messages) // 2):
        detail = "user and assistant must alternate, and the assistant have the last word"
        raise tasks.Skip(tasks.SkipReason.BAD_CONVERSATION, detail)
    questions = []
    for asks, answers in zip(messages[::2], messages[1::2], strict=True):
        # What belongs to the only question may stand beside the conversation.
        whole = fields if len(messages) == 2 else {}
        truth = _content(answers).strip()
        if not truth:
            raise tasks.Skip(tasks.SkipReason.BAD_CONVERSATION, "an empty answer")
        references = _texts(answers.get("answers") or whole.get("answers")) or (truth,)
        choices = _texts(asks.get("choices") or whole.get("choices"))
        question = replace(
            blank,
            text=_marked(_content(asks), images),
            truth=truth,
            references=references,
            boxes_xyxy=_boxes(answers, truth),
            choices=choices,
        )
        questions.append(make(question))
    return questions


def _choice(question: Question) -> Question:
    """Let the choices be listed, and the answer be a letter."""
    question = _choice_alone(question)
    listed = [f"{LETTERS[at]}. {each}" for at, each in enumerate(question.choices)]
    return replace(question, text="\n".join((question.text, *map(_plain, listed), LETTER)))


def _choice_alone(question: Question) -> Question:
    """Check the choices; truth becomes the right one's letter."""
    if not 2 <= len(question.choices) <= len(LETTERS):
        raise UnusableError("no_choices")
    # A choice may be a letter itself, and stand elsewhere.
    same = [at for at, each in enumerate(question.choices) if each == question.truth]
    right = same[0] if len(same) == 1 else letter_of(question.truth, question.choices)
    if right is None:
        raise UnusableError("answer_is_no_choice")
    letter = LETTERS[right]
    return replace(question, truth=letter, references=(letter,))


def _pointed(question: Question) -> Question:
    if not question.boxes_xyxy:
        raise UnusableError("answer_has_no_box")
    return question


def _yes_no(question: Question) -> Question:
    if yes_or_no(question.truth) is None:
        raise UnusableError("answer_is_not_yes_or_no")
    return question


def _as_it_is(question: Question) -> Question:
    return question


_DIALOGUE: dict[Task, Callable[[Question], Question]] = {
    "grounded_vqa": _pointed,
    "vqa": _as_it_is,
    "exact": _as_it_is,
    "anls": _as_it_is,
    "choice": _choice,
    "choice_likelihood": _choice_alone,
    "yes_no": _yes_no,
}

LEVELS: dict[str, tuple[str, ...]] = {
    "rec": ("grounded",),
    "grounded_caption": ("grounded",),
    "caption": ("image_text", "grounded"),
    **{task: ("dialogue",) for task in _DIALOGUE},
}
"""What a shard set must hold for a task."""


def _together(questions: list[Question]) -> list[Question]:
    """Return one question for each image, with the captions of all its samples."""
    captions: dict[str, list[str]] = {}
    first: dict[str, Question] = {}
    for each in questions:
        captions.setdefault(each.image_id, []).append(each.truth)
        first.setdefault(each.image_id, each)
    return [replace(each, references=(*captions[image],)) for image, each in first.items()]


def _samples(dataset: Dataset) -> Iterator[tuple[tuple[int, int], RawSample | SampleError]]:
    reader = SampleReader(dataset)
    for shard in range(len(dataset.shards)):
        for row, raw in enumerate(reader.iterate(shard)):
            yield (shard, row), raw


def _content(turn: Mapping[str, Any]) -> str:
    """Return what is said, with boxes at their marks."""
    content = turn.get("content")
    if not isinstance(content, str):
        detail = f"the content of a turn is {content!r}"
        raise tasks.Skip(tasks.SkipReason.BAD_CONVERSATION, detail)
    first, *others = content.split(tasks.BOXES_MARK)
    boxes = turn.get("boxes") or []
    if len(boxes) != len(others):
        detail = f"{len(others)} {tasks.BOXES_MARK} marks for {len(boxes)} entries of boxes"
        raise tasks.Skip(tasks.SkipReason.BAD_CONVERSATION, detail)
    try:
        pairs = zip(boxes, others, strict=True)
        return first + "".join(boxtext.encode(each) + after for each, after in pairs)
    except ValueError as error:
        raise tasks.Skip(tasks.SkipReason.BAD_BOXES, str(error)) from error


def _boxes(message: Mapping[str, Any], truth: str) -> tuple[Box, ...]:
    """Return the boxes of an answer's first mark as they are stored, or of its first box text."""
    if stored := message.get("boxes"):
        return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in stored[0])
    box_texts = boxtext.find(truth)
    return tuple(box_texts[0].boxes or ()) if box_texts else ()


def _texts(listed: Any) -> tuple[str, ...]:
    """Return a list of texts, or of VQAv2's objects with an `answer` each."""
    if not isinstance(listed, list):
        return ()
    texts = [each.get("answer") if isinstance(each, dict) else each for each in listed]
    return tuple(each for each in texts if isinstance(each, str))


def _marked(question: str, images: int) -> str:
    """Return a question that says where all images belong, or nothing: then they come first."""
    if question.count(IMAGE_MARK) in (0, images):
        return question
    return " ".join(question.replace(IMAGE_MARK, " ").split())


def _plain(text: str) -> str:
    """A caption or a choice may say <image>, which in a question would be the place of one."""
    return text.replace(IMAGE_MARK, "image")
