"""`make learn`: does a small CogVLM learn to point at things, by the whole path?

    python -m examples.learn [--seed N] [--steps N]

Rendered scenes with one or two coloured shapes go through the filter job, the grounding job and the
trainer; a debug-sized CogVLM with visual experts then answers "Where is …?" about scenes that it
never saw. Passed when at least half of its boxes overlap the truth by half, and before training at
most one of twenty did. No network; about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import shards
from examples import demo_spacy, tokenizer
from examples.corpus import Corpus, encoded, run_command, say, write_metadata
from examples.scenes import scene
from examples.web import Page, serve
from grounding.annotations import Annotated, AnnotatedPhrase, write_shards
from shards.image import StoreSpec

NUM_SCENES = 6000
NUM_HELD_OUT = 300
SIDE = 64  # pixels of a scene, and of the model's input
VOCABULARY = 400  # tokens
BAR, BAR_BEFORE = 0.5, 0.05

# 2.4 M parameters: what two cores can train in minutes. Patches of 16 px, so an image is 18 tokens.
MODEL = (
    f"vocab_size={VOCABULARY} hidden_size=128 num_layers=4 head_size=32 mlp_size=352"
    f" projector.mlp_size=352 vision.image_size={SIDE} vision.patch_size=16 vision.width=128"
    " vision.num_layers=3 vision.mlp_size=352"
)


def main() -> int:
    """Run the proof; returns 0 where the bar is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    started = time.monotonic()
    out = Path("learn-out")
    shutil.rmtree(out, ignore_errors=True)
    held_out = _held_out(out / "held-out")
    code = _scenes_to_shards(out) or _train(out, options.seed, options.steps)
    if code:
        return code
    before = _accuracy(out / "untrained", held_out, out / "before.json")
    after = _accuracy(out / "trained", held_out, out / "after.json")
    passed = after >= BAR and before <= BAR_BEFORE
    say(
        f"REC accuracy@0.5 on {NUM_HELD_OUT} unseen scenes: {before:.3f} before, {after:.3f} after "
        f"{options.steps} steps (bar {BAR}); {(time.monotonic() - started) / 60:.1f} minutes: "
        f"{'passed' if passed else 'NOT PASSED'}"
    )
    return 0 if passed else 1


def _held_out(folder: Path) -> Path:
    """Write scenes that are in no training set, with their true boxes."""
    first = NUM_SCENES
    made = {str(seed): scene(seed, (SIDE, SIDE)) for seed in range(first, first + NUM_HELD_OUT)}
    records = [
        Annotated(
            image_id=seed,
            caption=each.caption,
            phrases=tuple(
                AnnotatedPhrase(
                    start=(start := each.caption.index(shape.phrase)),
                    end=start + len(shape.phrase),
                    boxes_xyxy=(tuple(side / SIDE for side in shape.box_xyxy_px),),  # type: ignore[arg-type]
                )
                for shape in each.shapes
            ),
            source="scenes",
            source_file="held-out",
            source_row=int(seed),
        )
        for seed, each in made.items()
    ]
    spec = StoreSpec(image_size=SIDE, quality=95)
    write_shards(records, lambda seed: encoded(made[seed].image(), "JPEG"), folder, spec=spec)
    return folder


def _scenes_to_shards(out: Path) -> int:
    pages: dict[str, Page] = {}
    with serve(pages) as base:
        corpus = Corpus(base)
        for seed in range(NUM_SCENES):
            made = scene(seed, (SIDE, SIDE))
            pages[f"/scenes/{seed}.jpg"] = Page(encoded(made.image(), "JPEG"))
            corpus.add(f"/scenes/{seed}.jpg", made.caption, "sample", WIDTH=SIDE, HEIGHT=SIDE)
        write_metadata(out / "metadata", corpus.rows)
        code = run_command(
            f"pipelines.filter --input laion2b_en_joined={out}/metadata/laion-*.parquet"
            f" --output {out}/run --preset cogvlm --shard_size 500 --store stage1 --workers 2"
            f" --allow_address 127.0.0.1/32 --host_rate 127.0.0.1=5000"
        )
    model = demo_spacy.build(out / "spacy")
    return code or run_command(
        f"pipelines.ground --input {out}/run --output {out}/grounded --spacy_model {model}"
        f" --detector blobs --shard_size 500"
    )


def _train(out: Path, seed: int, steps: int) -> int:
    captions = [record.sample.caption for record in shards.read(out / "grounded")]
    tokenizer.write(captions, out / "tokenizer.json", vocab_size=VOCABULARY)
    # The paper's wording alone: what is to be learned is where things are, not how people ask.
    (out / "prompts").mkdir()
    (out / "prompts" / "rec.en.txt").write_text("Where is {phrase}?\n", encoding="utf-8")
    flags = (
        f"cogvlm.train --preset debug --override {MODEL} --data rec={out}/grounded"
        f" --tokenizer {out}/tokenizer.json --global_batch 64 --micro_batch 64 --streams 8"
        f" --lr 0.0015 --warmup_steps 100 --ema 0 --snapshot_every 1000 --log_every 100"
        f" --prompts {out}/prompts --seed {seed}"
        # A few thousand scenes are learned by heart in fifty visits: no visit is the same.
        " --augment.flip 0.5 --augment.crop_min_share 0.5"
    )
    # One step at a rate of nearly nothing: the model as it begins, through the same door.
    first = run_command(f"{flags} --output {out}/untrained --steps 1 --warmup_steps 0 --lr 1e-12")
    return first or run_command(f"{flags} --output {out}/trained --steps {steps}")


def _accuracy(run: Path, held_out: Path, report: Path) -> float:
    code = run_command(
        f"cogvlm.evaluate --checkpoint {run} --data rec={held_out} --batch 50 --json {report}"
    )
    assert code == 0, "the evaluation failed; its message is above"
    value: float = json.loads(report.read_text())["entries"][0]["accuracy"]
    return value


if __name__ == "__main__":
    sys.exit(main())
