"""What each stage of a grounding job is set to do, and the fingerprint that says so.

Goes in: parsed options and the input. Comes out: one settings value and one fingerprint per stage.
Nothing is started and no model is loaded, except where a fingerprint is of a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grounding.align import LabelRules
from grounding.detector import Detector
from grounding.detectors.forms import listed
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
from pipelines.ground_job.select import SelectConfig
from pipelines.harness.fingerprint import Fingerprint, fingerprint
from pipelines.harness.options import Option, parse_pairs
from shards.dataset import Dataset

STAGES = ("phrases", "labels", "boxes", "choose", "select", "pack")

_ROWS_PER_BUCKET = 2_000_000
_LIBRARIES = ("pyarrow", "numpy", "xxhash")


def check(values: argparse.Namespace, dataset: Dataset) -> None:
    """Raise ValueError for what can be told from the options alone."""
    phrases_config(values, dataset)
    labels_config(values, dataset)
    boxes_config(values, dataset)
    share(values)


def check_models(values: argparse.Namespace, dataset: Dataset) -> None:
    """Load both models once, so that a wrong name stops the job before any work."""
    config = phrases_config(values, dataset)
    load_extractor(config.spacy_model, config.rules)
    if values.stop_after != "phrases":
        described(values)


def phrases_config(values: argparse.Namespace, dataset: Dataset) -> PhrasesConfig:
    """Return the phrases stage's settings."""
    rules = PhraseRules(
        abstract=values.drop_abstract,
        expressions=not values.no_expressions,
        language=values.language,
    )
    return PhrasesConfig(dataset=dataset, spacy_model=values.spacy_model, rules=rules)


def labels_config(values: argparse.Namespace, dataset: Dataset) -> LabelsConfig:
    """Return the labels stage's settings."""
    return LabelsConfig(
        dataset=dataset,
        detector=detector_spec(values),
        floor=values.label_floor,
        batch=4 * values.detector_batch,
        allow_upsampled=values.allow_upsampled,
    )


def detector_spec(values: argparse.Namespace) -> DetectorSpec:
    """Return the detector with its settings.

    Raises:
        ValueError: None is named.
    """
    if not values.detector:
        raise ValueError(f"--detector is missing; give one of {listed()}")
    pairs = (
        parse_pairs("detector_options", values.detector_options or "")
        if (values.detector_options)
        else {}
    )
    return DetectorSpec(
        name=values.detector,
        device=values.device,
        precision=values.precision,
        batch=values.detector_batch,
        second=values.second_detector,
        rescore=values.rescore,
        options=tuple(sorted(pairs.items())),
    )


def described(values: argparse.Namespace) -> Detector:
    """Return the detector on the CPU, where the launcher asks it who it is.

    Raises:
        ValueError: There is no such detector, or it does not read the language.
    """
    from grounding.detectors.load import check_language

    detector = replace(detector_spec(values), device="cpu").load()
    check_language(detector, values.language)
    return detector


def boxes_config(values: argparse.Namespace, dataset: Dataset) -> BoxesConfig:
    """Return the boxes stage's settings."""
    return BoxesConfig(
        dataset=dataset,
        rules=LabelRules(
            score_threshold=values.score_threshold,
            cross_phrase_iou=values.cross_phrase_iou,
            max_boxes=values.max_boxes,
            whole_image=values.whole_image,
        ),
        min_boxes=values.min_boxes,
        num_buckets=num_buckets(dataset.samples),
    )


def num_buckets(samples: int) -> int:
    """Return the power of two that holds at most 2 M input samples each; from counts alone."""
    return 1 << max(0, (max(samples, 1) - 1) // _ROWS_PER_BUCKET).bit_length()


def choose_config(values: argparse.Namespace) -> ChooseConfig:
    """Return the choose stage's settings."""
    return ChooseConfig(captions=values.captions, seed=values.seed)


def share(values: argparse.Namespace) -> Share:
    """Return the share of images with two boxes that must be exceeded."""
    try:
        return fraction(values.two_box_share)
    except ValueError as error:
        raise ValueError(f"--two_box_share: {error}") from error


def select_config(values: argparse.Namespace, cut: Cut) -> SelectConfig:
    """Return the select stage's settings."""
    return SelectConfig(cut=cut, seed=values.seed, shard_size=values.shard_size)


def pack_config(values: argparse.Namespace, dataset: Dataset, detector: str) -> PackConfig:
    """Return the pack stage's settings."""
    return PackConfig(dataset=dataset, detector=detector, score_threshold=values.score_threshold)


def phrases_fingerprint(values: argparse.Namespace, dataset: Dataset) -> Fingerprint:
    """Return the phrases stage's fingerprint: the input by content, the model by its hash."""
    config = phrases_config(values, dataset)
    extractor = load_extractor(config.spacy_model, config.rules)
    data = {"input": dataset.fingerprint, "phrases": extractor.fingerprint}
    return _fingerprint("phrases", None, values, PHRASE_OPTIONS, data, ("spacy",))


def labels_fingerprint(values: argparse.Namespace, dataset: Dataset, previous: str) -> Fingerprint:
    """Return the labels stage's fingerprint: the detector by weights and settings."""
    detector = described(values)
    data = {"detector": detector.fingerprint, "detector name": detector.name}
    return _fingerprint("labels", ("phrases", previous), values, LABEL_OPTIONS, data, ())


def boxes_fingerprint(values: argparse.Namespace, previous: str) -> Fingerprint:
    """Return the boxes stage's fingerprint."""
    return _fingerprint("boxes", ("labels", previous), values, BOX_OPTIONS, {}, ())


def choose_fingerprint(values: argparse.Namespace, previous: str) -> Fingerprint:
    """Return the choose stage's fingerprint."""
    mine = [option for option in SELECT_OPTIONS if option.stage == "choose"]
    return _fingerprint("choose", ("boxes", previous), values, mine, {}, ())


def select_fingerprint(values: argparse.Namespace, previous: str) -> Fingerprint:
    """Return the select stage's fingerprint."""
    mine = [option for option in SELECT_OPTIONS if option.stage == "select"]
    return _fingerprint("select", ("choose", previous), values, mine, {}, ())


def pack_fingerprint(values: argparse.Namespace, previous: str) -> Fingerprint:
    """Return the pack stage's fingerprint."""
    return _fingerprint("pack", ("select", previous), values, (), {}, ())


def _fingerprint(
    stage: str,
    previous: tuple[str, str] | None,
    values: argparse.Namespace,
    options: Sequence[Option],
    data: dict[str, Any],
    libraries: Sequence[str],
) -> Fingerprint:
    counted = {
        option.name: getattr(values, option.name)
        for option in options
        if option.affects_output and option.name != "input"  # counts by content
    }
    return fingerprint(
        stage, previous=previous, options=counted, data=data, libraries=(*_LIBRARIES, *libraries)
    )
