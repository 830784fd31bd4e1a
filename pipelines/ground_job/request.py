"""What a grounding job is asked to do: one field for every option that its stages use."""

from __future__ import annotations

from dataclasses import dataclass

from grounding.selection import Policy
from pipelines.ground_job.choose import Captions
from pipelines.harness.request import Request


@dataclass(frozen=True, kw_only=True)
class GroundRequest(Request):
    """A grounding job's options."""

    input: str | None  # as typed: a run, OUT@SELECTION or an img2dataset folder
    spacy_model: str
    language: str  # of the captions
    drop_abstract: bool
    no_expressions: bool
    limit: int | None  # samples
    sample: float | None  # share of the input's shards

    detector: str  # FORM:MODEL
    detector_options: str | None  # NAME=VALUE,…
    second_detector: str | None
    rescore: str | None  # a CLIP model
    precision: str  # fp32 | bf16
    label_floor: float  # boxes of a lower score are not recorded
    allow_upsampled: bool
    device: str
    devices: str | None  # auto, or GPUs as 0,1,…
    detector_batch: int  # images

    score_threshold: float
    cross_phrase_iou: float
    max_boxes: int  # of a phrase
    whole_image: float | None  # share of the image
    min_boxes: int  # of a sample

    captions: Captions
    seed: int
    target: int | None  # images; None: as many as the share allows
    two_box_share: str  # a fraction
    policy: Policy
    exact: bool
    shard_size: int  # samples
