"""`python -m grounding.verify`: does a GLIP checkpoint reach its published number here?

Goes in: a checkpoint, and the unpacked Flickr30k Entities with the images. The test split is
brought into a run, the detector is scored on it, and R@1 (any box) is held against what was
published. Nobody may hand on these files, so without them it says what to get and from where.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from grounding import scoring
from grounding.annotated import flickr30k_entities
from grounding.annotated.annotations import folder_images, write_shards
from grounding.evaluate import add_detector_options, detector_options, metric_lines
from grounding.samples import open_grounded
from shards.commandline import run

PUBLISHED = "85.6 (GLIP-T, O365 and GoldG) to 86.0 (with CC3M and SBU)"
MIN_RECALL = 0.84

_IMAGES = "flickr30k-images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify; returns 0 where the number is reached, 1 where it is not, 2 without the files."""
    parser = argparse.ArgumentParser(prog="python -m grounding.verify", description=__doc__)
    add = parser.add_argument
    add("--weights", default="", help="a GLIP checkpoint, official or of mmdetection")
    add("--flickr", default="", help=f"Flickr30k Entities with a folder {_IMAGES}")
    add("--split", default="test", help="test (default) or val")
    add_detector_options(parser)
    options = parser.parse_args(arguments)
    reached = False

    def verify() -> None:
        nonlocal reached
        check_files(options.weights, options.flickr, options.split)
        reached = _reaches(options)

    return run(verify) or (0 if reached else 1)


def check_files(weights: str, flickr: str, split: str) -> None:
    """Check that all files are there.

    Raises:
        ValueError: One is missing; the message says which, and where to get it.
    """
    if not weights:
        raise ValueError(
            "WEIGHTS is not set; type: make verify-glip WEIGHTS=glip_tiny_model_o365_goldg.pth "
            "FLICKR=folder (checkpoints are linked from github.com/microsoft/GLIP)"
        )
    if not Path(weights).exists():
        raise ValueError(f"WEIGHTS={weights}: there is no such file")
    if not flickr:
        raise ValueError(
            "FLICKR is not set; it is the unpacked annotations of Flickr30k Entities "
            f"(github.com/BryanPlummer/flickr30k_entities) with the images in {_IMAGES}, "
            "which its authors give on request"
        )
    folder = Path(flickr)
    for name in ("Annotations", "Sentences", _IMAGES, f"{split}.txt"):
        if not (folder / name).exists():
            raise ValueError(f"FLICKR={flickr}: it has no {name}; {_HOLDS}")


_HOLDS = f"it must hold Annotations, Sentences, {_IMAGES} and the list of the split"


def _reaches(options: argparse.Namespace) -> bool:
    from grounding.detectors.load import load_detector

    detector = load_detector(f"glip:{options.weights}", **detector_options(options))
    with tempfile.TemporaryDirectory(prefix="groundwork-") as folder:
        out = Path(folder, "gold")
        records = flickr30k_entities.read(options.flickr, options.split)
        written = write_shards(records, folder_images(Path(options.flickr, _IMAGES)), out)
        score = scoring.score_detector(
            open_grounded(out), detector, scoring.THRESHOLDS, options.batch
        )
    values = score.to_json()
    recall = values["recall"]["any"]["all"]["1"]["value"]
    verdict = recall is not None and recall >= MIN_RECALL
    lines = [
        f"{detector.name}, {detector.fingerprint}",
        f"Flickr30k Entities, {options.split}: {written.samples:,} captions, "
        f"left out {dict(written.left_out) or 'none'}",
        *metric_lines(values),
        "",
        f"R@1, any box: must be at least {100 * MIN_RECALL:.0f}; published: {PUBLISHED}",
        "reached" if verdict else "NOT reached: the port or the files are not what was published",
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return verdict


if __name__ == "__main__":
    sys.exit(main())
