"""GLIP as a detector of phrases.

    detector = GlipDetector("glip_tiny.pth", vocab="vocab.txt", device="cuda", precision="bf16")
    detector.detect(images, captions, spans)

Images of one padded size are looked at together, as the network sees the padding and numbers must
not depend on the company. While a batch runs, the host resizes the next one and suppresses the
overlaps of the one before.

Shape letters: B images, L tokens, P phrases, N detections.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor

from grounding.detector import Detection, Span
from grounding.glip import deform, preprocess
from grounding.glip.config import GlipConfig
from grounding.glip.options import Options
from grounding.glip.postprocess import Candidates, Found, candidates, suppress
from grounding.glip.source import Source, read
from grounding.glip.spans import Prompt, tokens_of

__all__ = ["GlipDetector", "Options", "Source", "read"]

CODE_VERSION = 1
"""Raised by changes of this package that change detections."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Task:
    """One image with its phrases."""

    at: int  # place among the images of the call
    image: Image
    prompt: Prompt
    tokens: list[list[int]]  # of each span; empty: beyond the text
    size_hw: tuple[int, int]  # after resizing


@dataclass(frozen=True)
class _Launched:
    """A batch whose candidates are on their way to the host."""

    tasks: list[_Task]
    candidates: Candidates
    arrived: torch.cuda.Event | None


class GlipDetector:
    """Keeps `grounding.detector.Detector`."""

    languages: frozenset[str] | None = frozenset({"en"})

    def __init__(
        self,
        source: str | Path | Source,
        *,
        vocab: str | Path | None = None,
        variant: GlipConfig | str | None = None,
        **options: Any,
    ) -> None:
        """Take a checkpoint, or a model, and move it to its device.

        Args:
            source: A checkpoint of the authors or of mmdetection; or what `read` returns.
            vocab: `vocab.txt` or `tokenizer.json` of bert-base-uncased; None: beside the file.
            variant: A preset's name or a config; None: recognised by the tensors.
            options: Fields of `Options`.

        Raises:
            ValueError: A file is missing or is not what it should be, or an option is wrong.
        """
        self.options = Options(**options)
        if not isinstance(source, Source):
            source = read(Path(source), vocab, variant)
        model, self._word_pieces, self._weights = source.model, source.word_pieces, source.digest
        self.config = model.config
        if self._word_pieces.size != self.config.text_vocab:
            raise ValueError(
                f"the vocabulary has {self._word_pieces.size} word pieces, but "
                f"{self.config.name} has {self.config.text_vocab}; give vocab= of its text tower"
            )
        self.problems: Counter[str] = Counter()
        """Reasons of images and spans that got no boxes because they could not be looked at."""
        if self.options.precision == "bf16":
            model.to_bfloat16()
        if torch.device(self.options.device).type == "cpu":
            deform.arrange_for_cpu(model)
        self._model = model.to(self.options.device).eval()
        self._most_pixels: float = float("inf")

    @property
    def name(self) -> str:
        """Return the model and what changes its numbers, in one line."""
        options, post = self.options, self.options.post
        parts = [
            self.config.name,
            f"short_side={options.short_side}",
            f"long_side={options.long_side}",
            options.precision,
            *(f"{key}={value}" for key, value in dataclasses.asdict(post).items()),
        ]
        if options.pad_text:
            parts.append("pad_text")
        return " ".join(parts)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, vocabulary, config, name, device's kind and libraries."""
        device = torch.device(self.options.device).type
        libraries = [torch.__version__, torchvision.__version__, PIL.__version__]
        libraries.append(importlib.metadata.version("tokenizers"))
        parts = (self._weights(), repr(self.config), self.name, device, CODE_VERSION, *libraries)
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

    def upsamples(self, width: int, height: int) -> bool:
        """Return whether an image of this size is enlarged before it is looked at."""
        return self._resized_hw(height, width)[0] > height

    def detect(
        self,
        images: Sequence[Image],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return, for every image, a detection for every span; boxes by falling score.

        Images without a span that can be read are not looked at. What could not be looked at is
        counted in `problems`.

        Raises:
            ValueError: There are not as many images as captions and lists of spans.
        """
        if not len(images) == len(captions) == len(spans):
            raise ValueError(
                f"{len(images)} images, {len(captions)} captions and {len(spans)} lists of spans: "
                f"their numbers must be the same"
            )
        results = [[_nothing() for _ in of_image] for of_image in spans]
        tasks = [
            self._task(at, *parts)
            for at, parts in enumerate(zip(images, captions, spans, strict=True))
        ]
        for launched in self._launched([task for task in tasks if any(task.tokens)]):
            self._finish(launched, results)
        return results

    def _resized_hw(self, height: int, width: int) -> tuple[int, int]:
        return preprocess.resized_hw(height, width, self.options.short_side, self.options.long_side)

    def _task(self, at: int, image: Image, caption: str, spans: Sequence[Span]) -> _Task:
        prompt = self._word_pieces(caption)
        tokens = [tokens_of(prompt.offsets, [span]) for span in spans]
        if not_read := tokens.count([]):
            self.problems["span_not_read"] += not_read
        return _Task(at, image, prompt, tokens, self._resized_hw(*image.shape[:2]))

    def _batches(self, tasks: list[_Task]) -> list[list[_Task]]:
        """Group by padded size; the largest first, so that memory is short early or never."""
        by_size: defaultdict[tuple[int, int], list[_Task]] = defaultdict(list)
        for task in tasks:
            by_size[preprocess.padded_hw(*task.size_hw)].append(task)
        count = self.options.batch
        return [
            group[start : start + count]
            for _, group in sorted(by_size.items(), key=lambda item: -item[0][0] * item[0][1])
            for start in range(0, len(group), count)
        ]

    def _launched(self, tasks: list[_Task]) -> Iterator[_Launched]:
        """Run all batches, and yield each one after the next has been started."""
        batches = self._batches(tasks)
        if not batches:
            return
        waiting: list[_Launched] = []
        with ThreadPoolExecutor(self.options.threads, "glip") as pool:
            ahead = self._resize(pool, batches[0])
            for number, batch in enumerate(batches):
                resized = [future.result() for future in ahead]
                if number + 1 < len(batches):
                    ahead = self._resize(pool, batches[number + 1])
                started = self._run(batch, resized)
                yield from waiting
                waiting = started
        yield from waiting

    def _resize(self, pool: ThreadPoolExecutor, batch: list[_Task]) -> list[Future[Image]]:
        return [pool.submit(preprocess.resize, task.image, task.size_hw) for task in batch]

    def _run(self, batch: list[_Task], resized: list[Image]) -> list[_Launched]:
        """Start a batch; where the device's memory is too small, its halves one after the other."""
        height, width = preprocess.padded_hw(*batch[0].size_hw)
        if len(batch) > 1 and len(batch) * height * width > self._most_pixels:
            half = len(batch) // 2
            return self._run(batch[:half], resized[:half]) + self._run(batch[half:], resized[half:])
        try:
            return [self._forward(batch, resized)]
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                error.add_note(f"one image of {height} x {width} alone; give a lower long_side")
                raise
            self._most_pixels = len(batch) * height * width - 1
        # Outside the handler, whose traceback would hold the memory of what failed.
        torch.cuda.empty_cache()
        return self._run(batch, resized)

    @torch.inference_mode()
    def _forward(self, batch: list[_Task], resized: list[Image]) -> _Launched:
        device = self.options.device
        sizes_hw_B2 = torch.tensor([task.size_hw for task in batch])
        ids_BL, mask_BL, phrase_map_BPL, sizes_hw_B2 = (
            preprocess.to_device(part, device) for part in (*self._text(batch), sizes_hw_B2)
        )
        images_B3HW = preprocess.stack(resized, device)
        head = self._model(images_B3HW, ids_BL, mask_BL)
        anchors = self._model.rpn.anchor_generator(head.box_deltas)
        on_device = candidates(head, anchors, phrase_map_BPL, sizes_hw_B2, self.options.post)
        on_host = on_device.to_host()
        arrived = None
        if images_B3HW.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(images_B3HW.device))
        return _Launched(batch, on_host, arrived)

    def _text(self, batch: list[_Task]) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids, mask and phrase maps of the same number of phrases."""
        length = max(len(task.prompt.ids) for task in batch)
        if self.options.pad_text:
            length = self.config.max_tokens
        phrases = max(len(task.tokens) for task in batch)
        ids_BL = torch.full((len(batch), length), self._word_pieces.pad_id)
        mask_BL = torch.zeros(len(batch), length, dtype=torch.bool)
        phrase_map_BPL = torch.zeros(len(batch), phrases, length)
        for row, task in enumerate(batch):
            ids_BL[row, : len(task.prompt.ids)] = torch.tensor(task.prompt.ids)
            mask_BL[row, : len(task.prompt.ids)] = True
            for phrase, tokens in enumerate(task.tokens):
                phrase_map_BPL[row, phrase, tokens] = 1 / max(1, len(tokens))
        return ids_BL, mask_BL, phrase_map_BPL

    def _finish(self, launched: _Launched, results: list[list[Detection]]) -> None:
        if launched.arrived is not None:
            launched.arrived.synchronize()
        best = launched.candidates
        for row, task in enumerate(launched.tasks):
            if not best.is_finite_B[row]:
                self.problems["output_not_finite"] += 1
                continue
            parts = (best.boxes_BK4[row], best.scores_BK[row], best.phrases_BK[row])
            kept = suppress(*parts, self.options.post)
            results[task.at] = _by_phrase(kept, task)


def _by_phrase(kept: Found, task: _Task) -> list[Detection]:
    """Return a detection per span, in shares of the image; boxes without an area are left out."""
    height, width = task.size_hw
    boxes_N4 = kept.boxes_N4.numpy() / np.array([width, height] * 2, np.float32)
    scores_N, phrases_N = kept.scores_N.numpy(), kept.phrases_N.numpy()
    has_area_N = (boxes_N4[:, :2] < boxes_N4[:, 2:]).all(1)
    detections = []
    for phrase in range(len(task.tokens)):
        (at,) = ((phrases_N == phrase) & has_area_N).nonzero()
        at = at[np.argsort(-scores_N[at], kind="stable")]
        detections.append(Detection(boxes_N4[at].clip(0, 1), scores_N[at]))
    return detections


def _nothing() -> Detection:
    return Detection(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
