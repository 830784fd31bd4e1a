"""A small CogVLM that learns where things are: its size, data, training and evaluation.

The demo, the learning proof and its ablations share this. Everything goes through the same commands
as a large run.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import shards
from examples import tokenizer
from examples.corpus import Corpus, encoded, run_command, write_metadata
from examples.scenes import Scene, scene
from examples.web import PORT, Page, serve
from grounding.annotated.annotations import Annotated, AnnotatedPhrase, write_shards
from shards.image import StoreSpec

SIDE = 64  # pixels of the model's input
SCENE_PX = (96, 96)  # of its scenes: in smaller JPEGs the toy detector is unsure of triangles
VOCABULARY = 400  # tokens

# 2.4 M parameters, which two cores train in minutes. With patches of 16 px an image is 18 tokens.
MODEL = (
    f"vocab_size={VOCABULARY} hidden_size=128 num_layers=4 head_size=32 mlp_size=352"
    f" projector.mlp_size=352 vision.image_size={SIDE} vision.patch_size=16 vision.width=128"
    " vision.num_layers=3 vision.mlp_size=352"
)
RESULTS = "evaluation.json"
"""The file that `evaluate` writes into a training run's folder."""

_FIRST_UNSEEN = 1_000_000  # number of a scene
_BATCH = 64
# A tower's blocks end in norms, next to which small initial patches and positions count for little.
_POSITIONS = 5
_ANSWER = 40  # tokens: two boxes; an untrained model never stops


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of the small model on a grounded run."""

    data: Path
    output: Path
    steps: int
    seed: int = 0
    override: str = ""  # of model settings, after MODEL
    flags: str = ""

    def command(self) -> str:
        """Return the command; tokenizer and prompts are in the folder that holds the data."""
        folder = self.data.parent
        return (
            f"cogvlm.train --preset debug --override {MODEL} {self.override}"
            f" --data rec={self.data} --tokenizer {folder}/tokenizer.json"
            f" --prompts {folder}/prompts --global_batch {_BATCH} --micro_batch {_BATCH}"
            f" --streams 8 --lr 0.0015 --lr_scale patch_and_pos {_POSITIONS}"
            f" --warmup_steps {min(100, self.steps // 5)} --ema 0"
            f" --snapshot_every 1000 --log_every 100 --seed {self.seed}"
            f" --output {self.output} --steps {self.steps} {self.flags}"
        )


@dataclass(frozen=True)
class Report:
    """What an evaluation measured."""

    accuracy: float  # share of boxes with IoU of at least 0.5
    questions: int
    chance: Mapping[str, float] = field(
        default_factory=dict
    )  # the same for answers without the image


def small_scene(number: int, *, counts: Sequence[int] = (1, 2), twins: float = 0.0) -> Scene:
    """Return a scene of large shapes that the small model can learn; see `examples.scenes`."""
    return scene(number, SCENE_PX, counts=counts, distinct=True, twins=twins, smallest=1 / 3)


def unseen(
    make: Callable[[int], Scene], seen: Iterable[Scene], how_many: int = 400
) -> dict[int, Scene]:
    """Return new scenes that look like none of those seen; simple scenes can repeat by chance."""
    looks = {_look(drawn) for drawn in seen}
    later = ((number, make(number)) for number in itertools.count(_FIRST_UNSEEN))
    new = (pair for pair in later if _look(pair[1]) not in looks)
    return dict(itertools.islice(new, how_many))


def prepare(grounded: Path) -> None:
    """Write tokenizer and prompts beside a grounded run."""
    captions = (record.sample.caption for record in shards.read(grounded))
    tokenizer.write(captions, grounded.parent / "tokenizer.json", vocab_size=VOCABULARY)
    # Only the paper's wording: the model is to learn where things are, not how people ask.
    prompts = grounded.parent / "prompts"
    prompts.mkdir(exist_ok=True)
    (prompts / "rec.en.txt").write_text("Where is {phrase}?\n", encoding="utf-8")


def samples(run: Path) -> int:
    """Return how many samples a run holds."""
    return shards.open_dataset(run).samples


def untrained(training: Training) -> Training:
    """Return a training that leaves the model untrained: one step with a learning rate near zero.

    The untrained model is thus saved, loaded and evaluated in the same way as the trained one.
    """
    return Training(
        data=training.data,
        output=training.output.with_name(f"{training.output.name}-untrained"),
        steps=1,
        seed=training.seed,
        override=training.override,
        flags=f"{training.flags} --warmup_steps 0 --lr 1e-12",
    )


def evaluate(run: Path, held_out: Path, *, threads: int | None = None) -> Report:
    """Ask a trained model for every shape of unseen scenes.

    Raises:
        RuntimeError: The command failed and has printed why.
    """
    file = run / RESULTS
    code = run_command(
        f"cogvlm.evaluate --checkpoint {run} --data rec={held_out} --all_phrases --batch 50"
        f" --max_new_tokens {_ANSWER} --json {file}",
        threads=threads,
    )
    if code:
        raise RuntimeError(f"the evaluation of {run} failed; its message is above")
    (entry,) = json.loads(file.read_text(encoding="utf-8"))["entries"]
    return Report(
        accuracy=entry["accuracy"],
        questions=entry["questions"],
        chance={name: baseline["accuracy"] for name, baseline in entry["chance"].items()},
    )


def write_held_out(scenes: Mapping[int, Scene], folder: Path) -> Path:
    """Write scenes as grounded shards with their true boxes, without running a job."""
    by_id = {str(number): drawn for number, drawn in scenes.items()}
    records = [_annotated(image_id, drawn) for image_id, drawn in by_id.items()]
    spec = StoreSpec(image_size=256, quality=95)  # as --store stage1
    write_shards(
        records, lambda image_id: encoded(by_id[image_id].image(), "JPEG"), folder, spec=spec
    )
    return folder


def filter_scenes(
    scenes: Mapping[int, Scene],
    out: Path,
    *,
    captions: Mapping[int, str] | None = None,
    flags: str = "--preset cogvlm",
) -> int:
    """Serve scenes as a small web, and run the filter job on its metadata.

    Args:
        scenes: By number; captions must be unique.
        out: Gets `metadata/` and the run, `run/`.
        captions: Captions for the metadata instead of the true ones.
        flags: Further flags of the job.

    Returns:
        The job's exit code.
    """
    pages: dict[str, Page] = {}
    with serve(pages, PORT) as base:
        corpus = Corpus(base)
        for number, drawn in scenes.items():
            width, height = drawn.size_px
            pages[f"/scenes/{number}.jpg"] = Page(encoded(drawn.image(), "JPEG"))
            caption = (captions or {}).get(number, drawn.caption)
            corpus.add(f"/scenes/{number}.jpg", caption, "sample", WIDTH=width, HEIGHT=height)
        write_metadata(out / "metadata", corpus.rows)
        return run_command(
            f"pipelines.filter --input laion2b_en_joined={out}/metadata/laion-*.parquet"
            f" --output {out}/run --shard_size 2000 --store stage1 --workers {_workers()}"
            f" --allow_address 127.0.0.1/32 --host_rate 127.0.0.1=5000 {flags}"
        )


def ground(out: Path, flags: Sequence[str]) -> int:
    """Run the grounding job on `out/run`; it writes `out/grounded`."""
    return run_command(
        f"pipelines.ground --input {out}/run --output {out}/grounded --shard_size 1000"
        f" --workers {_workers()} {' '.join(flags)}"
    )


def _look(made: Scene) -> frozenset[tuple[str, str, tuple[int, int, int, int]]]:
    return frozenset((shape.colour, shape.kind, shape.box_xyxy_px) for shape in made.shapes)


def _workers() -> int:
    return min(8, os.cpu_count() or 1)


def _annotated(number: str, made: Scene) -> Annotated:
    width, height = made.size_px
    phrases = []
    for shape in made.shapes:
        start = made.caption.index(shape.phrase)
        x0, y0, x1, y1 = shape.box_xyxy_px
        box = (x0 / width, y0 / height, x1 / width, y1 / height)
        end = start + len(shape.phrase)
        phrases.append(AnnotatedPhrase(start=start, end=end, boxes_xyxy=(box,)))
    return Annotated(
        image_id=number,
        caption=made.caption,
        phrases=tuple(phrases),
        source="scenes",
        source_file="held-out",
        source_row=int(number),
    )
