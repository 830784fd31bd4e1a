"""How each family of zero-shot detectors reads text and returns boxes.

A family turns an image, a caption and its spans into an `Item`, runs a batch of items whose
images have one size, and returns an `Answer` per item: candidate boxes, and a score for every
candidate and span. What an item gets does not depend on its batch: images are never padded to
each other, and short lists of phrases are filled up with a phrase of their own.

Shapes: B items, N candidates, S spans, T tokens, C columns, Q phrases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from grounding.detector import Span
from grounding.detectors.boxes import Boxes
from grounding.glip.spans import tokens_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Item:
    """One image with what is asked about it."""

    pixels: Tensor  # (3, h, w) float32, as the model takes them
    size_px: tuple[int, int]  # width and height of the decoded image
    token_ids: list[int]  # of the caption; empty where phrases are sent
    phrases: list[str]  # each text once; empty where the caption is sent
    columns: list[list[int]]  # of each span: token columns, or the index of its phrase


@dataclass(frozen=True)
class Answer:
    """Candidates of one image."""

    boxes_xyxy: Boxes  # (N, 4) in the decoded image's [0, 1], not clipped
    scores_NS: npt.NDArray[np.float32]  # 0 where a span has no columns


class Family(Protocol):
    """One way to ask a model about phrases."""

    def item(
        self, image: npt.NDArray[np.uint8], caption: str, spans: Sequence[Span]
    ) -> Item | None:
        """Return what goes into a batch, or None where there is nothing to ask."""
        ...

    def run(self, items: Sequence[Item]) -> list[Answer]:
        """Return an answer per item."""
        ...

    def upsamples(self, width: int, height: int) -> bool:
        """Whether the image processor enlarges an image of this size."""
        ...


class TokenFamily:
    """GroundingDINO and MM-GroundingDINO: the caption goes in, a logit per token comes out."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._images = processor.image_processor
        self._tokenizer = processor.tokenizer
        if not self._tokenizer.is_fast:
            raise ValueError("spans need a fast tokenizer, and this folder has no tokenizer.json")
        stops = self._tokenizer.convert_tokens_to_ids([".", "?"])
        self._full_stop, self._stops = stops[0], frozenset(stops)

    def item(
        self, image: npt.NDArray[np.uint8], caption: str, spans: Sequence[Span]
    ) -> Item | None:
        """Tokenize the exact caption, so that the offsets are those of the spans.

        The model attends inside sentences, which end at "." or "?". A last sentence without
        such an end is one token at a time when it also ends its row, and whole when the row is
        padded: its numbers would depend on the batch. So it always gets an end.
        """
        encoded = self._tokenizer(
            caption,
            add_special_tokens=False,
            split_special_tokens=True,  # a caption may say "[SEP]"
            return_offsets_mapping=True,
            verbose=False,
        )
        room = self._model.config.max_text_len - 3  # [CLS], the full stop, [SEP]
        ids: list[int] = list(encoded["input_ids"][:room])
        offsets = [(int(a), int(b)) for a, b in encoded["offset_mapping"][:room]]
        # Column 0 is [CLS].
        columns = [[1 + token for token in tokens_of(offsets, [span])] for span in spans]
        if not any(columns):
            return None
        if ids[-1] not in self._stops:
            ids.append(self._full_stop)
        ids = [self._tokenizer.cls_token_id, *ids, self._tokenizer.sep_token_id]
        # Alone, an image is not padded; in a batch of its size it need not be.
        pixels = _pixels(self._images, image, do_pad=False)
        return Item(pixels, _size(image), ids, [], columns)

    def run(self, items: Sequence[Item]) -> list[Answer]:
        """Return, per span, the mean over its columns of the logits' sigmoid."""
        import torch

        device = self._model.device
        longest = max(len(item.token_ids) for item in items)
        ids_BT = torch.full((len(items), longest), self._tokenizer.pad_token_id)
        mask_BT = torch.zeros((len(items), longest), dtype=torch.long)
        for row, item in enumerate(items):
            ids_BT[row, : len(item.token_ids)] = torch.tensor(item.token_ids)
            mask_BT[row, : len(item.token_ids)] = 1
        output = self._model(
            pixel_values=torch.stack([item.pixels for item in items]).to(device),
            input_ids=ids_BT.to(device),
            attention_mask=mask_BT.to(device),
        )
        return _answers(items, output.logits, output.pred_boxes)

    def upsamples(self, width: int, height: int) -> bool:
        """Whether the short side is below what it is resized to, and the long one allows it."""
        return _enlarges(self._images, width, height)


class PhraseFamily:
    """OWLv2, OWL-ViT and OmDet-Turbo: phrases go in one by one, a logit per phrase comes out."""

    def __init__(self, model: Any, processor: Any, *, square: bool, task: bool) -> None:
        """Set what tells the models apart.

        Args:
            model: In evaluation mode on its device.
            processor: Its image processor and tokenizer.
            square: Images are padded on the right and below to a square, and boxes are of that
                square (OWLv2).
            task: A sentence that lists the phrases goes in as well (OmDet-Turbo).
        """
        self._model = model
        self._images = processor.image_processor
        self._tokenizer = processor.tokenizer
        self._square = square and bool(self._images.do_pad)
        self._task = task
        self._max_tokens = model.config.text_config.max_position_embeddings

    def item(
        self, image: npt.NDArray[np.uint8], caption: str, spans: Sequence[Span]
    ) -> Item | None:
        """Send each phrase's text once; a phrase is found again by its index, not by its text."""
        texts = [caption[start:end].strip() for start, end in spans]
        phrases = [text for text in dict.fromkeys(texts) if text]
        if not phrases:
            return None
        columns = [[phrases.index(text)] if text else [] for text in texts]
        return Item(_pixels(self._images, image), _size(image), [], phrases, columns)

    def run(self, items: Sequence[Item]) -> list[Answer]:
        """Return, per span, the sigmoid of its phrase's logit."""
        import torch

        most = max(len(item.phrases) for item in items)
        # Filled up with its own first phrase, an image ranks candidates as it does alone.
        texts = [
            text
            for item in items
            for text in [*item.phrases, *item.phrases[:1] * (most - len(item.phrases))]
        ]
        pixels = torch.stack([item.pixels for item in items]).to(self._model.device)
        ids, mask = self._tokens(texts)
        if not self._task:
            output = self._model(pixel_values=pixels, input_ids=ids, attention_mask=mask)
            return _answers(items, output.logits, output.pred_boxes, square=self._square)
        tasks, task_mask = self._tokens([f"Detect {', '.join(item.phrases)}." for item in items])
        output = self._model(
            pixel_values=pixels,
            classes_input_ids=ids,
            classes_attention_mask=mask,
            classes_structure=torch.full((len(items),), most),
            tasks_input_ids=tasks,
            tasks_attention_mask=task_mask,
        )
        return _answers(items, output.decoder_class_logits, output.decoder_coord_logits)

    def upsamples(self, width: int, height: int) -> bool:
        """Whether a side is shorter than what it is resized to."""
        side = max(width, height)
        return _enlarges(self._images, *((side, side) if self._square else (width, height)))

    def _tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        encoded = self._tokenizer(
            texts,
            split_special_tokens=True,  # a caption may say "<|endoftext|>"
            padding="max_length",
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        return encoded["input_ids"], encoded["attention_mask"]


def _pixels(processor: Any, image: npt.NDArray[np.uint8], **options: Any) -> Tensor:
    # torch shares memory with an array, and only with one that may be written.
    writable = np.require(image, requirements=("C", "W"))
    # The layout is told: an image three pixels high would be taken for one with channels first.
    made = processor(
        images=[writable], input_data_format="channels_last", return_tensors="pt", **options
    )
    return made["pixel_values"][0].float()


def _size(image: npt.NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _enlarges(processor: Any, width: int, height: int) -> bool:
    size = dict(processor.size)
    if "shortest_edge" not in size:
        return width < size["width"] or height < size["height"]
    longest = size.get("longest_edge") or np.inf
    return min(width, height) < size["shortest_edge"] and max(width, height) < longest


def _answers(
    items: Sequence[Item], logits_BNC: Tensor, boxes_BN4: Tensor, *, square: bool = False
) -> list[Answer]:
    answers = []
    scores_BNC = logits_BNC.float().sigmoid().cpu().numpy()
    for item, scores_NC, boxes_N4 in zip(
        items, scores_BNC, boxes_BN4.float().cpu().numpy(), strict=True
    ):
        width, height = item.size_px
        side = np.float32(max(width, height))
        scale = [side / width, side / height] if square else [1, 1]
        middle, half = boxes_N4[:, :2], boxes_N4[:, 2:] / 2
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        scores = np.zeros((len(boxes), len(item.columns)), np.float32)
        for number, columns in enumerate(item.columns):
            if columns:
                scores[:, number] = scores_NC[:, columns].mean(axis=1)
        answers.append(Answer(boxes * np.array(scale * 2, np.float32), scores))
    return answers
