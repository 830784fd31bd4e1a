"""Questions to token sequences: the prompts of training, with examples before them if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cogvlm.data.pixels import preprocess
from cogvlm.data.segments import Segment, Text, Turn, dialogue
from cogvlm.data.tasks import TaskOptions
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.data.tokens import encode
from cogvlm.evaluation.questions import Question
from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import Sample
from cogvlm.model.registry import TEMPLATES
from shards.image import decode

_SHORT = frozenset(("vqa", "exact", "anls", "yes_no", "choice", "choice_likelihood"))

Images = Sequence[bytes]  # encoded files
Shot = tuple[Question, Images]  # an example with its answer


@dataclass(frozen=True)
class Prompter:
    """Makes prompts for one model and one task."""

    tokenizer: Tokenizer
    config: ModelConfig
    template: str  # a name in the registry's TEMPLATES

    def prompt(self, question: Question, images: Images, shots: Sequence[Shot] = ()) -> Sample:
        """Return a prompt: each example with its images and its answer, then the question.

        Raises:
            ImageError: An image cannot be decoded.
            ValueError: It is longer than the model's context.
        """
        return encode(self._segments(question, images, shots), self.tokenizer, self.config)

    def with_answer(
        self, question: Question, images: Images, shots: Sequence[Shot], answer: str
    ) -> Sample:
        """Return a prompt with an answer as its target, EOS included. Raises as `prompt`."""
        segments = self._segments(question, images, shots)
        segments.append(Text(answer, target=True, ends=True))
        return encode(segments, self.tokenizer, self.config)

    def _segments(self, question: Question, images: Images, shots: Sequence[Shot]) -> list[Segment]:
        way = TEMPLATES[self.template]
        segments: list[Segment] = []
        for shot, pictures in shots:
            turn = Turn(shot.text, shot.truth)
            segments += self._dialogue(turn, pictures, is_first=not segments)
            segments.append(Text(way.end, special=way.special))
        return segments + self._dialogue(Turn(question.text), images, is_first=not segments)

    def _dialogue(self, turn: Turn, images: Images, *, is_first: bool) -> list[Segment]:
        pictures = [self._picture(image) for image in images]
        start, *others = dialogue([turn], pictures, self.template)
        return [start, *others] if is_first else others  # a conversation starts once

    def _picture(self, image: bytes) -> Tensor:
        return preprocess(decode(image), self.config.vision)


def template_for(task: str, template: str, options: TaskOptions) -> str:
    """Return the template that a task is trained with by models of a template."""
    declared = TEMPLATES[template]
    if task == "caption" and not options.caption_requests:
        return declared.captions
    return (declared.short or template) if task in _SHORT else template
