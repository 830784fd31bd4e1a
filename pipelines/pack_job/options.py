"""The options of the packing job. Those of the readers change all stages, so all are one group."""

from __future__ import annotations

from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.harness.options import LAUNCH_OPTIONS, OUTPUT, launch, output, positive
from pipelines.pack_job.readers.documents import MODES
from pipelines.pack_job.readers.own_boxes import BOX_FORMATS

_STORE = (
    "store",
    "image_size",
    "resize_mode",
    "max_long_side",
    "encode_format",
    "encode_quality",
    "resizer",
    "max_pixels",
)

SET_OPTIONS = (
    output("pack", "format", "of the annotations; docs/packing.md has the list"),
    output("pack", "input", "file, folder or glob; repeatable", repeat=True),
    output("pack", "annotations", "the second file, of formats that have two"),
    output("pack", "images", "folder or .tar with the images; repeatable", repeat=True),
    output("pack", "image_pattern", "name of an image's file, such as {:0>12}.jpg"),
    output("pack", "source", "name of the set, for the samples' field source"),
    output(
        "pack",
        "split",
        "of Flickr30k Entities, RefCOCO, Visual7W, Karpathy, ScienceQA: train, val, test, testA, …",
    ),
    output("pack", "exclude", "file with ids of images that must not be used, one a line"),
    output(
        "pack",
        "allow_eval_overlap",
        "take a set of COCO's images as it is, test sets' images included",
        flag=True,
    ),
    output("pack", "box_format", "of boxes_jsonl, never guessed", choices=BOX_FORMATS),
    output(
        "pack",
        "document_mode",
        "order of documents, or a sample for each image with its text",
        choices=MODES,
        default="interleaved",
    ),
    output("pack", "max_images", "of a document, the first", type=positive, default=6),
    output(
        "pack", "regions_per_sample", "of Visual Genome: descriptions", type=positive, default=8
    ),
    output("pack", "limit", "only the first N records of each file or folder", type=positive),
    output("pack", "seed", "of the order of samples", type=int, default=0),
    output("pack", "shard_size", "planned samples of a shard", type=positive, default=2500),
)

STORE_OPTIONS = tuple(option for option in DOWNLOAD_OPTIONS if option.name in _STORE)

PACK_OPTIONS = (
    OUTPUT,
    *SET_OPTIONS,
    *STORE_OPTIONS,
    launch(
        "items_per_process", "items that a process works on at a time", type=positive, default=1
    ),
    *LAUNCH_OPTIONS,
)
