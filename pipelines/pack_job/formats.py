"""The formats that can be packed: level, reader, and what their command line needs."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.pack_job.readers import (
    annotated,
    benchmarks,
    captions,
    conversations,
    documents,
    flan,
    own_boxes,
    visual7w,
    vqa,
)
from pipelines.pack_job.reading import Reader


@dataclass(frozen=True, kw_only=True)
class Format:
    """One published form."""

    name: str
    level: str  # one of `schema.LEVELS`
    reader: Reader
    about: str
    endings: tuple[str, ...] = ()  # of its files; none: the input is a folder
    annotations: str | None = None  # what the second file is, where there is one
    coco: bool = False  # its images are COCO's, and so are test sets'
    ids: bool = True  # and it says which ones


_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2")

FORMATS = {
    each.name: each
    for each in (
        Format(
            name="sft_311k",
            level="dialogue",
            reader=conversations.sft_311k,
            about="CogVLM-SFT-311K: folders `labels…` with `images` beside them",
            coco=True,
            ids=False,
        ),
        Format(
            name="llava_instruct",
            level="dialogue",
            reader=conversations.llava_instruct,
            about="LLaVA-Instruct, LRV, LLaVAR: a list of conversations",
            endings=(".json", *_LINES),
            coco=True,
        ),
        Format(
            name="vqa",
            level="dialogue",
            reader=vqa.vqa,
            about="VQAv2-style questions and annotations",
            endings=(".json",),
            annotations="the file of answers",
            coco=True,
        ),
        Format(
            name="visual7w",
            level="dialogue",
            reader=visual7w.visual7w,
            about="Visual7W's questions, pointing or telling",
            endings=(".json",),
            annotations="Visual Genome's image_data.json",
            coco=True,
        ),
        Format(
            name="mmc4",
            level="document",
            reader=documents.mmc4,
            about="MMC4's lines",
            endings=_LINES,
        ),
        Format(
            name="obelics",
            level="document",
            reader=documents.obelics,
            about="OBELICS's records, as parquet or lines",
            endings=(".parquet", *_LINES),
        ),
        Format(
            name="flan",
            level="text",
            reader=flan.flan,
            about="lines of inputs and targets, or instruction and output",
            endings=_LINES,
        ),
        Format(
            name="boxes_jsonl",
            level="grounded",
            reader=own_boxes.boxes_jsonl,
            about="your own lines of image, caption, phrases with boxes",
            endings=_LINES,
        ),
        Format(
            name="coco_detection",
            level="grounded",
            reader=annotated.coco_detection,
            about="COCO's instances",
            endings=(".json",),
            coco=True,
        ),
        Format(
            name="flickr30k_entities",
            level="grounded",
            reader=annotated.read_flickr30k_entities,
            about="the unpacked annotations of Flickr30k Entities",
        ),
        Format(
            name="refcoco",
            level="grounded",
            reader=annotated.read_refcoco,
            about="RefCOCO, RefCOCO+, RefCOCOg",
            endings=(".p",),
            annotations="instances.json",
            coco=True,
        ),
        Format(
            name="visual_genome",
            level="grounded",
            reader=annotated.read_visual_genome,
            about="Visual Genome's descriptions of regions",
            endings=(".json",),
            annotations="image_data.json",
            coco=True,
        ),
        Format(
            name="coco_captions",
            level="image_text",
            reader=captions.coco_captions,
            about="COCO's captions",
            endings=(".json",),
            coco=True,
        ),
        Format(
            name="nocaps",
            level="image_text",
            reader=captions.nocaps,
            about="NoCaps: captions in COCO's form, of other images",
            endings=(".json",),
        ),
        Format(
            name="karpathy",
            level="image_text",
            reader=captions.karpathy,
            about="Karpathy's splits of COCO's or Flickr30k's captions",
            endings=(".json",),
            coco=True,
        ),
        Format(
            name="textvqa",
            level="dialogue",
            reader=benchmarks.textvqa,
            about="TextVQA's questions with their answers",
            endings=(".json",),
        ),
        Format(
            name="docvqa",
            level="dialogue",
            reader=benchmarks.docvqa,
            about="DocVQA's or InfographicVQA's questions with their answers",
            endings=(".json",),
        ),
        Format(
            name="vizwiz",
            level="dialogue",
            reader=benchmarks.vizwiz,
            about="VizWiz's questions with their answers",
            endings=(".json",),
        ),
        Format(
            name="gqa",
            level="dialogue",
            reader=benchmarks.gqa,
            about="GQA's questions with their answers",
            endings=(".json",),
            coco=True,
            ids=False,
        ),
        Format(
            name="pope",
            level="dialogue",
            reader=benchmarks.pope,
            about="POPE's lines of questions, whatever they end in",
            endings=(".json", *_LINES),
            coco=True,
        ),
        Format(
            name="scienceqa",
            level="dialogue",
            reader=benchmarks.scienceqa,
            about="ScienceQA's problems.json",
            endings=(".json",),
        ),
        Format(
            name="mm_vet",
            level="dialogue",
            reader=benchmarks.mm_vet,
            about="mm-vet.json",
            endings=(".json",),
        ),
    )
}
