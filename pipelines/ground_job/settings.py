"""What each stage of a grounding job is set to do, and the fingerprint that says so.

Goes in: the request and the input. Comes out: one settings value and one fingerprint per stage.
Nothing is started and no model is loaded, except where a fingerprint is of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grounding.align import LabelRules
from grounding.detector import Detector
from grounding.phrases.extractor import PhraseRules, load_extractor
from grounding.selection import Cut, Share, fraction
from pipelines.ground_job.boxes import BoxesConfig
from pipelines.ground_job.choose import ChooseConfig
from pipelines.ground_job.detecting import DetectorSpec
from pipelines.ground_job.labels import LabelsConfig
from pipelines.ground_job.options import (
    BOX_OPTIONS,
    LABEL_OPTIONS,
    PHRASE_OPTIONS,
    SELECT_OPTIONS,
)
from pipelines.ground_job.pack import PackConfig
from pipelines.ground_job.phrases import PhrasesConfig
from pipelines.ground_job.request import GroundRequest
from pipelines.ground_job.select import SelectConfig
from pipelines.harness.buckets import num_buckets
from pipelines.harness.fingerprint import Fingerprint, fingerprint
from pipelines.harness.options import Option, parse_pairs
from shards.dataset import Dataset

STAGES = ("phrases", "labels", "boxes", "choose", "select", "pack")

_ROWS_PER_BUCKET = 2_000_000
_LIBRARIES = ("pyarrow", "numpy", "xxhash")


def check(request: GroundRequest, dataset: Dataset) -> None:
    """Raise ValueError for what can be told from the options alone."""
    phrases_config(request, dataset)
    labels_config(request, dataset)
    boxes_config(request, dataset)
    share(request)


def check_models(request: GroundRequest, dataset: Dataset, *, labels: bool) -> None:
    """Load the models once, so that a wrong name stops the job before any work.

    Args:
        request: What was asked for.
        dataset: The input.
        labels: Whether the job goes as far as the detector.
    """
    config = phrases_config(request, dataset)
    load_extractor(config.spacy_model, config.rules)
    if labels:
        described(request)


def phrases_config(request: GroundRequest, dataset: Dataset) -> PhrasesConfig:
    """Return the phrases stage's settings."""
    rules = PhraseRules(
        abstract=request.drop_abstract,
        expressions=not request.no_expressions,
        language=request.language,
    )
    return PhrasesConfig(dataset=dataset, spacy_model=request.spacy_model, rules=rules)


def labels_config(request: GroundRequest, dataset: Dataset) -> LabelsConfig:
    """Return the labels stage's settings."""
    return LabelsConfig(
        dataset=dataset,
        detector=detector_spec(request),
        floor=request.label_floor,
        batch=4 * request.detector_batch,
        allow_upsampled=request.allow_upsampled,
    )


def detector_spec(request: GroundRequest) -> DetectorSpec:
    """Return the detector with its settings.

    Raises:
        ValueError: None is named.
    """
    if not request.detector:
        raise ValueError("--detector is missing; give glip:CHECKPOINT, hf:MODEL or oracle:FILE")
    given = request.detector_options
    pairs = parse_pairs("detector_options", given) if given else {}
    return DetectorSpec(
        name=request.detector,
        device=request.device,
        precision=request.precision,
        batch=request.detector_batch,
        second=request.second_detector,
        rescore=request.rescore,
        options=tuple(sorted(pairs.items())),
    )


def described(request: GroundRequest) -> Detector:
    """Return the detector on the CPU, where the launcher asks it who it is.

    Raises:
        ValueError: There is no such detector, or it does not read the language.
    """
    from grounding.detectors.load import check_language

    detector = replace(detector_spec(request), device="cpu").load()
    check_language(detector, request.language)
    return detector


def boxes_config(request: GroundRequest, dataset: Dataset) -> BoxesConfig:
    """Return the boxes stage's settings."""
    return BoxesConfig(
        dataset=dataset,
        rules=LabelRules(
            score_threshold=request.score_threshold,
            cross_phrase_iou=request.cross_phrase_iou,
            max_boxes=request.max_boxes,
            whole_image=request.whole_image,
        ),
        min_boxes=request.min_boxes,
        num_buckets=num_buckets(dataset.samples, _ROWS_PER_BUCKET),
    )


def choose_config(request: GroundRequest) -> ChooseConfig:
    """Return the choose stage's settings."""
    return ChooseConfig(captions=request.captions, seed=request.seed)


def share(request: GroundRequest) -> Share:
    """Return the share of images with two boxes that must be exceeded."""
    try:
        return fraction(request.two_box_share)
    except ValueError as error:
        raise ValueError(f"--two_box_share: {error}") from error


def select_config(request: GroundRequest, cut: Cut) -> SelectConfig:
    """Return the select stage's settings."""
    return SelectConfig(cut=cut, seed=request.seed, shard_size=request.shard_size)


def pack_config(request: GroundRequest, dataset: Dataset, detector: str) -> PackConfig:
    """Return the pack stage's settings."""
    return PackConfig(dataset=dataset, detector=detector, score_threshold=request.score_threshold)


def phrases_fingerprint(request: GroundRequest, dataset: Dataset) -> Fingerprint:
    """Return the phrases stage's fingerprint: the input by content, the model by its hash."""
    config = phrases_config(request, dataset)
    extractor = load_extractor(config.spacy_model, config.rules)
    data = {"input": dataset.fingerprint, "phrases": extractor.fingerprint}
    return _fingerprint("phrases", None, request, PHRASE_OPTIONS, data, ("spacy",))


def labels_fingerprint(request: GroundRequest, dataset: Dataset, previous: str) -> Fingerprint:
    """Return the labels stage's fingerprint: the detector by weights and settings."""
    detector = described(request)
    data = {"detector": detector.fingerprint, "detector name": detector.name}
    return _fingerprint("labels", ("phrases", previous), request, LABEL_OPTIONS, data, ())


def boxes_fingerprint(request: GroundRequest, previous: str) -> Fingerprint:
    """Return the boxes stage's fingerprint."""
    return _fingerprint("boxes", ("labels", previous), request, BOX_OPTIONS, {}, ())


def choose_fingerprint(request: GroundRequest, previous: str) -> Fingerprint:
    """Return the choose stage's fingerprint."""
    return _fingerprint("choose", ("boxes", previous), request, _of_stage("choose"), {}, ())


def select_fingerprint(request: GroundRequest, previous: str) -> Fingerprint:
    """Return the select stage's fingerprint."""
    return _fingerprint("select", ("choose", previous), request, _of_stage("select"), {}, ())


def pack_fingerprint(request: GroundRequest, previous: str) -> Fingerprint:
    """Return the pack stage's fingerprint."""
    return _fingerprint("pack", ("select", previous), request, (), {}, ())


def _of_stage(stage: str) -> list[Option]:
    return [option for option in SELECT_OPTIONS if option.stage == stage]


def _fingerprint(
    stage: str,
    previous: tuple[str, str] | None,
    request: GroundRequest,
    options: Sequence[Option],
    data: dict[str, Any],
    libraries: Sequence[str],
) -> Fingerprint:
    return fingerprint(
        stage,
        previous=previous,
        options=request.recorded(options, leave_out=("input",)),  # it counts by content
        data=data,
        libraries=(*_LIBRARIES, *libraries),
    )
