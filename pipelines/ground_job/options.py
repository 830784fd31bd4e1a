"""The options of the grounding job, each with the stage whose bytes it changes."""

from __future__ import annotations

from grounding.detectors.forms import listed, listed_options
from pipelines.harness.options import LAUNCH_OPTIONS, OUTPUT, fraction, launch, output, positive

SEED = output("choose", "seed", "seed of the selection and of shard order", type=int, default=0)

PHRASE_OPTIONS = (
    output(
        "phrases",
        "input",
        "image-text shards: a run, OUT@SELECTION, or an img2dataset folder",
    ),
    output(
        "phrases",
        "spacy_model",
        "installed package, folder of a model, or lexicon (no weights, no expressions)",
        default="en_core_web_sm",
    ),
    output("phrases", "language", "of the captions", default="en"),
    output(
        "phrases",
        "drop_abstract",
        "drop GRIT's 14 abstract nouns (CogVLM leaves them to the detector)",
        flag=True,
    ),
    output("phrases", "no_expressions", "leave referring expressions out", flag=True),
    output("phrases", "limit", "only the first N samples of the input", type=positive),
    output(
        "phrases", "sample", "only this share of the input's shards, for a forecast", type=fraction
    ),
)

LABEL_OPTIONS = (
    output(
        "labels",
        "detector",
        f"what finds the boxes: {listed()}; default: that of the run that is resumed",
        default="",
    ),
    output(
        "labels",
        "detector_options",
        f"settings of the detector; {listed_options()}",
        metavar="NAME=VALUE,…",
    ),
    output("labels", "second_detector", "keep only boxes that this one finds, too (IoU 0.5)"),
    output("labels", "rescore", "CLIP model that scores how well region and phrase fit"),
    output(
        "labels",
        "precision",
        "of the detector",
        choices=("fp32", "bf16"),
        default="fp32",
    ),
    output(
        "labels", "label_floor", "boxes with lower scores are not recorded", type=float, default=0.2
    ),
    launch(
        "allow_upsampled",
        "continue although the detector enlarges more than half of the images",
        flag=True,
    ),
    launch("device", "auto, cuda, cpu, cuda:1, …", default="auto"),
    launch(
        "allow_code",
        "run the module:… detector that run.json names, without --detector",
        flag=True,
    ),
    launch("devices", "one launcher per GPU while labelling: auto or 0,1,…", metavar="0,1,…"),
    launch("detector_batch", "images per call of the detector", type=positive, default=8),
)

BOX_OPTIONS = (
    output(
        "boxes",
        "score_threshold",
        "only boxes with a higher score are kept",
        type=float,
        default=0.65,
    ),
    output(
        "boxes",
        "cross_phrase_iou",
        "of two boxes of an image that overlap by more, only the better one is kept",
        type=float,
        default=0.7,
    ),
    output(
        "boxes", "max_boxes", "most boxes of a phrase; the best are kept", type=positive, default=10
    ),
    output(
        "boxes",
        "whole_image",
        "boxes of at least this share of the image are dropped",
        type=fraction,
    ),
    output("boxes", "min_boxes", "samples with fewer boxes are dropped", type=positive, default=1),
)

SELECT_OPTIONS = (
    output(
        "choose",
        "captions",
        "of several captions of one image: all, the best (most boxes), or the first",
        choices=("all", "best", "first"),
        default="best",
    ),
    SEED,
    output(
        "select", "target", "images wanted; default: as many as the share allows", type=positive
    ),
    output(
        "select",
        "two_box_share",
        "more than this share of the images must have two boxes",
        default="3/4",
    ),
    output(
        "select",
        "policy",
        "fill the target with images of two boxes first, or with as many of one as allowed",
        choices=("prefer_multi", "fill_single"),
        default="prefer_multi",
    ),
    output("select", "exact", "reach the target exactly, not to within 1/65536", flag=True),
    output("select", "shard_size", "samples of a new shard", type=positive, default=2500),
)

GROUND_OPTIONS = (
    OUTPUT,
    *PHRASE_OPTIONS,
    *LABEL_OPTIONS,
    *BOX_OPTIONS,
    *SELECT_OPTIONS,
    launch("stop_after", "stop when this stage is done", choices=("phrases", "labels", "choose")),
    launch(
        "reselect",
        "with other thresholds or another target: keep phrases and labels, redo the rest",
        flag=True,
    ),
    launch("items_per_process", "concurrent items per process", type=positive, default=1),
    *LAUNCH_OPTIONS,
)
