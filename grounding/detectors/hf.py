"""Zero-shot detectors of transformers: (MM-)GroundingDINO, OWLv2, OWL-ViT and OmDet-Turbo.

`load` takes a folder or a hub id and gives a detector that keeps the protocol. The score of a
phrase comes from the logits at its token columns, or at its index among the phrases sent;
nothing is looked up by text that a model wrote. Each phrase's boxes are suppressed among
themselves at an overlap of 0.6, and boxes below 0.05 are left out.

Scores are comparable inside one model only: 0.65 belongs to GLIP. Captions longer than the
model's text (256 tokens of GroundingDINO) are cut, and spans behind the cut get no boxes; a
phrase longer than OWL's 16 or OmDet's 77 tokens is itself cut.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from grounding.detector import Detection, Span
from grounding.detectors.boxes import nothing, select
from grounding.detectors.forms import DetectorForm, Settings, torch_device
from grounding.detectors.model_files import library_errors, reason

if TYPE_CHECKING:
    from grounding.detectors.hf_families import Answer, Family, Item

FLOOR = 0.05
NMS_IOU = 0.6
MODEL_TYPES = {  # of config.json, to the name of the class that reads it
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
    "owlv2": "Owlv2ForObjectDetection",
    "owlvit": "OwlViTForObjectDetection",
    "omdet-turbo": "OmDetTurboForObjectDetection",
}
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_FILES = ("*.json", "*.txt", "*.safetensors")
_WINDOW = 4  # batches prepared at once, to find images of one size among them


class HfDetector:
    """A model of transformers behind the protocol."""

    languages: frozenset[str] | None = frozenset({"en"})

    def __init__(
        self,
        family: Family,
        *,
        name: str,
        fingerprint: str,
        device: str = "cpu",
        precision: str = "fp32",
        batch: int = 8,
    ) -> None:
        self._family = family
        self._device = device.partition(":")[0]
        self._name = name
        self._fingerprint = fingerprint
        self._precision = precision
        self._batch = batch
        self.problems: Counter[str] = Counter()
        """Images that got no boxes because what the model returned is not a number, by reason."""
        self._lock = threading.Lock()  # OmDet-Turbo keeps a cache of phrases in the model

    @property
    def name(self) -> str:
        """Model, family, floor, suppression and precision."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Of the model's files, the settings, the kind of device and the libraries."""
        return self._fingerprint

    def upsamples(self, width: int, height: int) -> bool:
        """Whether the model's image processor enlarges an image of this size."""
        return self._family.upsamples(width, height)

    def detect(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return a detection for every span.

        Images that have one size after resizing share a batch; a batch that does not fit into
        the GPU's memory is halved, and later ones start at the smaller size.
        """
        detections = [[nothing() for _ in of_image] for of_image in spans]
        rows = list(zip(images, captions, spans, strict=True))
        window = self._batch * _WINDOW
        for start in range(0, len(rows), window):
            items: dict[int, Item] = {}
            for number, row in enumerate(rows[start : start + window], start):
                if (item := self._family.item(*row)) is not None:
                    items[number] = item
            for numbers in _by_size(items):
                answers = self._in_batches([items[number] for number in numbers])
                for number, answer in zip(numbers, answers, strict=True):
                    if not (
                        np.isfinite(answer.boxes_xyxy).all() and np.isfinite(answer.scores_NS).all()
                    ):
                        self.problems["output_not_finite"] += 1
                        continue
                    detections[number] = [
                        select(answer.boxes_xyxy, scores, floor=FLOOR, nms_iou=NMS_IOU)
                        for scores in answer.scores_NS.T
                    ]
        return detections

    def _in_batches(self, items: Sequence[Item]) -> Iterator[Answer]:
        import torch

        done = 0
        while done < len(items):
            part = items[done : done + self._batch]
            answers = None
            try:
                answers = self._run(part)
            except torch.cuda.OutOfMemoryError:
                if len(part) == 1:
                    raise
            if answers is None:
                # Not in the handler: until it ends, the error holds the tensors of the batch.
                torch.cuda.empty_cache()
                self._batch = len(part) // 2
                continue
            yield from answers
            done += len(part)

    def _run(self, items: Sequence[Item]) -> list[Answer]:
        import torch

        dtype = getattr(torch, PRECISIONS[self._precision])
        half = torch.autocast(self._device, dtype, enabled=self._precision != "fp32")
        with self._lock, torch.inference_mode(), half:
            return self._family.run(items)


def load(model: str, *, device: str = "cpu", precision: str = "fp32", batch: int = 8) -> HfDetector:
    """Load a detector.

    Args:
        model: A folder as `save_pretrained` writes it (model, image processor and tokenizer),
            or a hub id such as "IDEA-Research/grounding-dino-tiny".
        device: "cpu", "cuda" or "cuda:N".
        precision: "fp32", or "bf16" and "fp16" by autocast.
        batch: Images at once, at most.

    Raises:
        ValueError: No such model, a folder that holds no model, or an unknown family.
    """
    folder = Path(model)
    name = folder.resolve().name if folder.is_dir() else model
    folder = folder if folder.is_dir() else _downloaded(model)
    model_type = _model_type(folder)
    settings = f"floor {FLOOR}, nms {NMS_IOU}, {precision}"
    return HfDetector(
        _family(folder, model_type, device),
        name=f"hf:{name} ({model_type}; {settings})",
        fingerprint=_fingerprint(folder, f"{settings}, {device.partition(':')[0]}"),
        device=device,
        precision=precision,
        batch=batch,
    )


def _model_type(folder: Path) -> str:
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} holds no transformers model: its config.json with a model_type could not "
            f"be read ({type(error).__name__}); give a folder that save_pretrained wrote"
        ) from error
    if model_type not in MODEL_TYPES:
        raise ValueError(
            f"{folder} holds a model of type {model_type!r}; "
            f"known zero-shot detectors: {', '.join(MODEL_TYPES)}"
        )
    return str(model_type)


def _family(folder: Path, model_type: str, device: str) -> Family:
    import transformers

    from grounding.detectors.hf_families import PhraseFamily, TokenFamily

    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        kind = getattr(transformers, MODEL_TYPES[model_type])
        model, report = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except library_errors() as error:
        raise ValueError(f"{folder} is not a whole model: {reason(error)}") from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"the weights of {folder} lack {len(missing)} of the model's, such as {missing[0]}"
        )
    model = model.eval().to(device)
    if "grounding-dino" in model_type:
        return TokenFamily(model, processor)
    return PhraseFamily(
        model, processor, square=model_type == "owlv2", task=model_type == "omdet-turbo"
    )


def _downloaded(model: str) -> Path:
    """Return the folder of a hub model, from the local cache where it is there."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise ValueError(f"{model} is neither a folder nor a hub id, which has the form owner/name")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=list(_FILES)))
    except library_errors() as error:
        raise ValueError(
            f"{model} is not a folder and could not be downloaded ({reason(error)}); fetch it "
            f"where there is a network with `hf download {model} --local-dir FOLDER` "
            "and give hf:FOLDER"
        ) from error


def _fingerprint(folder: Path, settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for library in ("torch", "torchvision", "transformers"):
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    for path in sorted(path for pattern in _FILES for path in folder.glob(pattern)):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _by_size(items: Mapping[int, Item]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, item in items.items():
        groups.setdefault(tuple(item.pixels.shape), []).append(number)
    return list(groups.values())


def _load_form(model: str, settings: Settings) -> HfDetector:
    return load(
        model,
        device=torch_device(settings.device),
        precision=settings.precision,
        batch=settings.batch,
    )


DETECTORS = (
    DetectorForm(
        form="hf:MODEL",
        about="GroundingDINO, MM-GroundingDINO, OWL-ViT, OWLv2, OmDet-Turbo of transformers; "
        "a folder or a hub id",
        load=_load_form,
    ),
)
