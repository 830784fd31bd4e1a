"""The options of the packing job. Those of the readers change all stages, so all are one group."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.harness.options import LAUNCH_OPTIONS, OUTPUT, launch, output, positive
from pipelines.pack_job.format import Format
from pipelines.pack_job.formats import FORMATS
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


def _names(takes: Callable[[Format], object]) -> str:
    return ", ".join(form.name for form in FORMATS.values() if takes(form))


_ANNOTATED = _names(lambda form: form.annotations)
_SPLIT = _names(lambda form: form.splits)
_BOXES = _names(lambda form: form.box_format)

SET_OPTIONS = (
    output("pack", "format", f"what the annotations are: {', '.join(FORMATS)}"),
    output("pack", "input", "file, folder or glob; repeatable", repeat=True),
    output("pack", "annotations", f"the second file, for {_ANNOTATED}"),
    output("pack", "images", "folder or .tar with the images; repeatable", repeat=True),
    output("pack", "image_pattern", "name of an image's file, such as {:0>12}.jpg"),
    output("pack", "source", "name of the set, stored in each sample's field source"),
    output("pack", "split", f"train, val, test, testA, …, for {_SPLIT}"),
    output("pack", "exclude", "file with ids of images that must not be used, one per line"),
    output(
        "pack",
        "allow_eval_overlap",
        "accept COCO images although test sets have some of them",
        flag=True,
    ),
    output(
        "pack",
        "box_format",
        f"what the four numbers of a box are, for {_BOXES}; never guessed",
        choices=BOX_FORMATS,
    ),
    output(
        "pack",
        "document_mode",
        "order of a document's images and texts, or a sample for each image with its text",
        choices=MODES,
        default="interleaved",
    ),
    output(
        "pack",
        "max_images",
        "most images of a document; later ones are left out",
        type=positive,
        default=6,
    ),
    output(
        "pack",
        "regions_per_sample",
        "descriptions of regions that make one caption, for visual_genome",
        type=positive,
        default=8,
    ),
    output("pack", "limit", "only the first N records of each file or folder", type=positive),
    output("pack", "seed", "seed of the order of samples", type=int, default=0),
    output("pack", "shard_size", "planned samples per shard", type=positive, default=2500),
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
