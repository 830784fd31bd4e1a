"""What a grounding job tells: the plan before it, stage by stage and yields after it."""

from __future__ import annotations

from grounding.forecast import Reach, forecast
from pipelines.ground_job import settings
from pipelines.ground_job.run import GroundRun, shard_items
from pipelines.harness import planfile
from shards.files.store import Store

_FROM_SELECTION_ON = ("boxes", "choose", "select", "pack")
_FILES_OF_SELECTION = ("boxes", "choice", "plan", "shards")


def plan(run: GroundRun) -> list[str]:
    """Return what would be done, and a forecast where a sample is labelled already."""
    request, dataset = run.request, run.dataset
    items = [*shard_items(dataset, request)]
    samples = sum(item.rows for item in items)
    done = [stage for stage in settings.STAGES if planfile.read_head(run.store, stage)]
    text = [
        f"{dataset.spec}: {dataset.samples:,} samples in {len(dataset.shards):,} shards "
        f"({dataset.kind}, {dataset.level}); this run takes {samples:,} of {len(items):,} shards",
        f"phrases by {request.spacy_model} ({request.language}), boxes by {request.detector}",
        f"planned or done already: {', '.join(done) or 'nothing'}",
    ]
    if "choose" not in done:
        return [
            *text,
            "no forecast: label a sample first, as --sample 0.01 --stop_after choose, then "
            "--dry_run with the same options",
        ]
    for stage in (run.phrases, run.labels, run.boxes):
        stage()
    histogram = run.choose()
    share = samples / dataset.samples
    target = request.target or round((histogram.single + histogram.multi) / share)
    return [*text, forecast(histogram, share, target, settings.share(request)).sentence()]


def lines(run: GroundRun) -> list[str]:
    """Return the accounting of the stages that are done, and what they yielded."""
    text = [f"{'stage':<10}{'in':>14}{'out':>14}  left out"]
    for line in run.lines:
        left = ", ".join(f"{name} {count:,}" for name, count in line.left_out.items() if count)
        text.append(f"{line.stage:<10}{line.into:>14,}{line.out:>14,}  {left or 'nothing'}")
    facts = run.facts
    text += _of_labels(run)
    if "box_outcomes" in facts:
        boxes = ", ".join(f"{name} {count:,}" for name, count in facts["box_outcomes"].items())
        text.append(f"boxes: {boxes or 'none'}")
        heads = ", ".join(
            f"{head} {boxed:,}/{count:,}" for head, (count, boxed) in [*facts["heads"].items()][:10]
        )
        text.append(f"commonest heads, with a box / all: {heads or 'none'}")
    if "images" in facts:
        one, two = facts["images"]["one_box"], facts["images"]["two_boxes"]
        text.append(f"images with one box {one:,}, with two or more {two:,}")
        target = run.request.target
        reach = Reach(single=one, multi=two, target=target or 0, share=settings.share(run.request))
        text.append(reach.sentence() if target else _natural(reach, run.request.two_box_share))
    if "selected" in facts:
        images, multi = facts["selected"]["images"], facts["selected"]["two_boxes"]
        text.append(
            f"selected {images:,} images, {multi:,} with two boxes or more: {multi / images:.6f}, "
            f"above {run.request.two_box_share}"
        )
        text.append(f"output: {run.store.root}")
    return text


def _of_labels(run: GroundRun) -> list[str]:
    """Return what the detector could not see well, or not at all."""
    labelled = next((line.out for line in run.lines if line.stage == "labels"), 0)
    enlarged = run.facts.get("upsampled", 0)
    text = []
    if enlarged:
        text.append(
            f"enlarged by the detector, small things are lost: {enlarged:,} of {labelled:,} images"
        )
    problems = run.facts.get("detector_problems", {})
    named = ", ".join(f"{name} {count:,}" for name, count in problems.items() if count)
    return [*text, f"detector's problems: {named}"] if named else text


def _natural(reach: Reach, share: str) -> str:
    natural = "n/a" if reach.natural_share is None else f"{reach.natural_share:.4f}"
    return f"natural share of two boxes {natural}; more than {share} allows {reach.most:,} images"


def forget_selection(store: Store) -> None:
    """Remove all stages from the thresholds on; phrases and labels stay."""
    for stage in _FROM_SELECTION_ON:
        for folder in (f"stats/{stage}", f"_items/{stage}", f"leases/{stage}"):
            store.delete_tree(folder)
    store.delete("manifest.json")
    store.delete("README.md")
    for folder in _FILES_OF_SELECTION:
        store.delete_tree(folder)
    store.delete("run.json")
