"""All settings of a training run in one dataclass; `presets` has the named runs.

`python -m cogvlm.train --help` is made from the sentences below. Importing this module is free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cogvlm.data.augment import Augment
from cogvlm.data.task_options import (
    DocumentLoss,
    GroundingUnits,
    PromptLanguage,
    TaskOptions,
)
from cogvlm.data.tasks import TASKS
from cogvlm.model.groups import GROUPS
from cogvlm.model.registry import TEMPLATES
from cogvlm.model.rules import Rule
from shards.suggest import suggest

if TYPE_CHECKING:
    TaskName: TypeAlias = str
    TemplateName: TypeAlias = str
else:  # choices of --help
    TaskName, TemplateName = Literal[tuple(TASKS)], Literal[tuple(TEMPLATES)]

Checkpointed = Literal["none", "tower", "decoder", "both"]


_AT_LEAST_1 = (
    *("global_batch", "window", "error_budget", "snapshot_every", "keep", "val_every"),
    *("val_samples", "log_every", "replicas"),
)
_AT_LEAST_0 = (
    *("steps", "epochs", "streams", "workers", "pack_tokens", "warmup_steps", "image_size"),
    *("nonfinite_budget", "lora_rank", "clip", "weight_decay", "lora_alpha"),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    output: str = ""
    """Folder for snapshots and logs. The same command with the same folder resumes."""
    data: str = ""
    """Shard sets as [task=]OUT[@SELECTION][:weight], separated by commas."""
    task: TaskName = "caption"
    """Task of the shard sets that name none."""
    model: str = ""
    """A model preset, to start from random weights; see docs/model_settings.md."""
    init: str = ""
    """Folder of a checkpoint to start from, ours or official (or --model)."""
    tokenizer: str = ""
    """tokenizer.json, or its folder; default: the folder of --init."""
    override: tuple[str, ...] = ()
    """Model settings to change, as expert.layers=4; names are those of docs/model_settings.md."""
    seed: int = 0
    """Seed of sample order, prompts, dropout and fresh weights."""
    dry_run: bool = False
    """Check everything, print the plan and stop."""

    steps: int = 1000
    """Optimiser steps of the whole run; the schedule spans them."""
    epochs: int = 0
    """Length in passes over the only shard set, instead of --steps."""
    global_batch: int = 64
    """Samples of an optimiser step, over all ranks and micro-batches."""
    micro_batch: int | Literal["auto"] = "auto"
    """Rows that a rank runs at a time; auto: as many as fit by the memory plan."""
    streams: int = 0
    """L, parts of the sample order (0: chosen); ranks x workers must divide it to resume."""
    window: int = 8
    """Shards whose samples are shuffled together."""
    workers: int = 1
    """Loader processes of a rank; 0 reads in the rank itself."""
    pack_tokens: int = 0
    """Pack the samples of a stream into rows of this many tokens; 0: one padded sample a row."""
    error_budget: int = 100
    """The run ends after this many unusable samples in a row."""
    augment: Augment = field(default_factory=Augment)
    """Random changes to images; off in all published recipes."""

    image_size: int = 0
    """Side of the model's input in pixels; 0: the model's own. Position tables are resized."""
    resize_at: tuple[tuple[int, int], ...] = ()
    """Steps at which the input side changes, as STEP SIDE."""
    template: TemplateName = "base"
    """Text around questions and answers."""
    prompt_language: PromptLanguage = "en"
    """Language of the questions; both: chosen by hash. Captions and phrases stay as they are."""
    prompts: str = ""
    """Folder with your prompt pools; missing ones are ours (cogvlm/data/tasks/prompts)."""
    task_prefix: bool = False
    """Put the task's name and a colon before every question, as a plain marker."""
    caption_requests: bool = False
    """Ask for captions with a question, in the run's template; off: the prompt is empty."""
    negatives: float = 0.0
    """Share of REC questions about something the caption does not name: "not in the image"."""
    grounding_units: GroundingUnits = "chunks"
    """Phrases with boxes are noun chunks, or the referring expressions that lie in no other."""
    keep_ambiguous: bool = False
    """REC and REG also for ambiguous phrases, to measure what the rules against them do."""
    document_loss: DocumentLoss = "all"
    """Targets of documents: all text, or only text after an image."""

    trains: tuple[str, ...] = ("adapter", "boi_eoi", "expert", "image_head")
    """Parameter groups that are trained; the others are frozen."""
    lr: float = 1e-4
    """Peak learning rate."""
    lr_scale: dict[str, float] = field(default_factory=dict)
    """Factor on the learning rate of a parameter group."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly to its peak."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    lr_floor: float = 0.1
    """Share of the peak learning rate at which cosine and linear end."""
    weight_decay: float = 0.05
    """Weight decay of matrices, embeddings, BOI and EOI; norms and biases have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay of the two moments."""
    eps: float = 1e-8
    """AdamW's epsilon."""
    clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    dropout: float = 0.0
    """The model's dropout while it trains."""
    ema: float = 0.0
    """Decay of the averaged weights, warmed up as min(decay, (1 + n) / (10 + n)); 0: none."""
    loss_per: Literal["token", "sample"] = "token"
    """Average the loss of a global batch over its target tokens, or over its samples."""
    lora_rank: int = 0
    """Rank of low-rank differences to frozen matrices (group lora); 0: none."""
    lora_alpha: float = 0.0
    """The differences are multiplied by alpha / rank; 0: alpha is the rank."""
    lora_targets: str = r"language_expert_|language_mlp"
    """Pattern of the matrices that get low-rank differences."""
    nonfinite_budget: int = 20
    """Updates that may be skipped: loss or gradient is not finite, or no sample had a target."""

    precision: Literal["bf16", "fp32"] = "bf16"
    """Precision of the computation; trained weights, optimiser and averages are always fp32."""
    device: str = "auto"
    """auto, cuda or cpu."""
    replicas: int = 1
    """Copies of the model; each is sharded over world size / replicas ranks."""
    reshard: bool = True
    """Free gathered weights between forward and backward pass: less memory, more traffic."""
    checkpoint_activations: Checkpointed = "none"
    """Whose layers keep only their inputs and are computed twice."""
    compile: bool = False
    """Compile every layer of decoder and tower."""
    deterministic: bool = False
    """Make runs repeatable bit for bit on the same machine; slower on GPUs. CPUs always are."""

    snapshot_every: int = 1000
    """Steps between snapshots (model, optimiser, averages, position); the last step has one too."""
    keep: int = 3
    """Newest snapshots to keep; the best by validation is kept as well."""
    val_data: str = ""
    """Held-out shard sets, written as in --data."""
    val_every: int = 1000
    """Steps between validations of the raw and the averaged weights."""
    val_samples: int = 1024
    """Samples in a validation."""
    log_every: int = 10
    """Steps between plain progress lines; the log has every step."""
    wandb: str = ""
    """Weights & Biases project to log to, in addition to the files."""

    def check(self) -> None:
        """Raise ValueError where a setting cannot be; names it as its flag."""
        for name, holds, wanted in (*self._number_rules(), *self._group_rules()):
            if not holds:
                raise ValueError(f"--{name} is {getattr(self, name)!r}; it must be {wanted}")

    def _number_rules(self) -> Iterator[Rule]:
        yield from ((name, getattr(self, name) >= 1, "at least 1") for name in _AT_LEAST_1)
        yield from ((name, getattr(self, name) >= 0, "0 or more") for name in _AT_LEAST_0)
        micro, below_1 = self.micro_batch, 1 - 1e-9
        yield "micro_batch", micro == "auto" or micro >= 1, "auto, or at least 1"
        yield "lr", self.lr > 0 and math.isfinite(self.lr), "a positive number"
        yield "lr_floor", 0 <= self.lr_floor <= 1, "in 0 to 1"
        yield "dropout", 0 <= self.dropout <= below_1, "0 or more, and below 1"
        yield "ema", 0 <= self.ema <= below_1, "0 or more, and below 1"
        yield "negatives", 0 <= self.negatives < 1, "0 or more, and below 1"

    def _group_rules(self) -> Iterator[Rule]:
        for name in ("trains", "lr_scale"):
            unknown = [group for group in getattr(self, name) if group not in GROUPS]
            groups = "made of parameter groups; " + " ".join(suggest(g, GROUPS) for g in unknown)
            yield name, not unknown, groups
        yield "trains", bool(self.trains), "at least one parameter group"
        starts = [step for step, _ in self.resize_at]
        is_ascending = starts == sorted({*starts}) and min(starts, default=1) > 0
        yield "resize_at", is_ascending, "ascending steps above 0"

    def image_size_at(self, step: int) -> int:
        """Return the input side at a step (from 0) in pixels; 0: as the model is."""
        size = self.image_size
        for start, side in self.resize_at:
            size = side if step >= start else size
        return size

    def task_options(self) -> TaskOptions:
        """Return the settings that say how tasks are made; they have the same names here."""
        return TaskOptions(
            **{field.name: getattr(self, field.name) for field in fields(TaskOptions)}
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)
