"""`python -m cogvlm.evaluation.verify`: does the official grounding model reach its number here?

Goes in: the checkpoint cogvlm-grounding-generalist-hf (v1.1), and RefCOCO's val split as a shard
set. Nobody may hand on these files, so without them it says what to get and from where. The model
must be right on 92.76 % of the expressions, give or take 0.3.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogvlm.evaluation import table
from cogvlm.evaluation.entries import Entry
from cogvlm.evaluation.model_options import add_model_options, open_model
from shards.commandline import run, say

if TYPE_CHECKING:
    from shards.dataset import Dataset

PUBLISHED = 92.76  # per cent of RefCOCO val, IoU at least 0.5
TOLERANCE = 0.3
EXPRESSIONS = 10_834  # of RefCOCO's val split; a few are left out as duplicates

_GOAL = f"RefCOCO val, accuracy@0.5: must be {PUBLISHED} ± {TOLERANCE}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify; returns 0 where the number is reached, 1 where it is not, 2 without the files."""
    parser = argparse.ArgumentParser(prog="python -m cogvlm.evaluation.verify", description=__doc__)
    parser.add_argument("--checkpoint", default="", help="folder of the official checkpoint")
    parser.add_argument("--refcoco", default="", help="shard set of RefCOCO val")
    parser.add_argument("--limit", type=int, help="only so many expressions: no verdict")
    add_model_options(parser)
    options = parser.parse_args(arguments)
    reached = False

    def verify() -> None:
        nonlocal reached
        reached = _reaches(options, check_files(options.checkpoint, options.refcoco))

    return run(verify) or (0 if reached else 1)


def check_files(checkpoint: str, refcoco: str) -> Dataset:
    """Return the expressions after a look at what was given.

    Raises:
        ValueError: Something is missing; the message says what, and where to get it.
    """
    if not checkpoint:
        raise ValueError(
            f"CHECKPOINT is not set. {_GOAL}. Type: make verify-official CHECKPOINT=folder "
            "REFCOCO=run (the checkpoint is zai-org/cogvlm-grounding-generalist-hf on Hugging "
            "Face; put the tokenizer.json of its language model into its folder)"
        )
    if not Path(checkpoint).is_dir():
        raise ValueError(f"CHECKPOINT={checkpoint}: there is no such folder")
    if not refcoco:
        raise ValueError(
            f"REFCOCO is not set. {_GOAL}. It is a shard set of refs(unc).p, split val, with "
            "COCO's train2014 images; docs/grounding.md (Annotated sets) shows how to make it"
        )
    from shards.dataset import open_dataset

    dataset = open_dataset(refcoco)
    if dataset.level != "grounded":
        raise ValueError(
            f"REFCOCO={refcoco} holds {dataset.level} samples; expressions with boxes are grounded"
        )
    return dataset


def verdict(percent: float) -> str:
    """Return in words what an accuracy says."""
    if round(abs(percent - PUBLISHED), 2) <= TOLERANCE:
        return "reached"
    if percent > PUBLISHED:
        return "NOT confirmed: higher than published; is this the val split, and all of it?"
    return "NOT reached: the code or the files are not what was published"


def _reaches(options: argparse.Namespace, dataset: Dataset) -> bool:
    from cogvlm.evaluation import evaluation

    how = evaluation.Options(limit=options.limit, batch=options.batch, all_phrases=True)
    subject = open_model(options)
    result = evaluation.evaluate(Entry("rec", options.refcoco), dataset, subject, how)
    percent = 100 * result.metrics["accuracy"]
    say(*table.lines(result), "", f"{_GOAL}; here {percent:.2f}")
    if options.limit is not None:
        say(f"no verdict: only {result.questions:,} expressions were asked")
        return False
    if result.questions < 0.99 * EXPRESSIONS:
        say(f"no verdict: {result.questions:,} expressions, the split has {EXPRESSIONS:,}")
        return False
    say(verdict(percent))
    return verdict(percent) == "reached"


if __name__ == "__main__":
    sys.exit(main())
