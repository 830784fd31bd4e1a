"""The named training runs, each a function that returns its recipe; no other file holds them.

A recipe says which of its values are published. `resolve` compares them with what a run really
uses, so that nobody takes a changed run for the paper's. Importing this module is free.

"Paper" is arXiv 2311.03079: v1 the first text, v2 that of February 2024. What no source states is
ours, and a note of the recipe says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from cogvlm.model.groups import GROUPS, stage
from cogvlm.training.config import TrainConfig
from shards.suggest import suggest


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run as it is meant."""

    config: TrainConfig
    """All settings; the user adds where the data, the weights and the output are."""
    published: frozenset[str] = frozenset()
    """Fields of the config whose values somebody published."""
    source: str
    """Where they are from, in one line; begins with "ours" where nothing is published."""
    notes: tuple[str, ...] = ()
    """What is unpublished and our choice, a line each."""


def _groups(*names: str) -> tuple[str, ...]:
    """Return parameter groups in the order of GROUPS."""
    return tuple(group for group in GROUPS if group in names)


def _fields(names: str) -> frozenset[str]:
    return frozenset(names.split())


_EVERY = _groups(*stage("sft") - {"lora"})
_PRETRAIN = _groups(*stage("stage1"))
_VIT_TENTH = {"patch_and_pos": 0.1, "vit": 0.1}
_LANGUAGE_TENTH = {"llm": 0.1, "embeddings": 0.1, "head": 0.1}

# Averages must forget the start of a run, so short ones forget faster.
_EMA_LONG, _EMA_SHORT = 0.9999, 0.999

_EMA_NOTE = "The paper averages weights; the decay is SwissArmyTransformer's default."
_COMMON_NOTE = "Clip 1.0, cosine to a tenth of the peak and loss per target token are ours."
_SHORT_EMA_NOTE = "EMA 0.999 as in all of our runs below 20,000 steps."


def stage1() -> Recipe:
    """Captions at 224 px: experts, adapter, BOI and EOI learn on web pairs."""
    return Recipe(
        config=TrainConfig(
            task="caption",
            template="base",
            image_size=224,
            steps=120_000,
            global_batch=8192,
            trains=_PRETRAIN,
            lr=1e-4,
            warmup_steps=12_000,
            schedule="cosine",
            weight_decay=0.05,
            betas=(0.9, 0.95),
            eps=1e-8,
            dropout=0.1,
            ema=_EMA_LONG,
        ),
        published=_fields(
            "task image_size steps global_batch trains lr warmup_steps schedule weight_decay betas "
            "eps dropout"
        ),
        source="paper v2, appendix A.1",
        notes=(
            "The prompt is empty, as the base models are used; the paper does not say.",
            _EMA_NOTE,
            _COMMON_NOTE,
        ),
    )


def stage2() -> Recipe:
    """Captions mixed with boxes for phrases (REC); 490 px for the second half."""
    return Recipe(
        config=replace(
            stage1().config,
            template="chat",
            resize_at=((30_000, 490),),
            steps=60_000,
            global_batch=1024,
            lr=1e-5,
            warmup_steps=1200,
            checkpoint_activations="decoder",
        ),
        published=_fields(
            "template image_size resize_at steps global_batch trains lr warmup_steps schedule "
            "weight_decay betas eps dropout"
        ),
        source="paper v2, appendix A.1",
        notes=(
            "The ratio is unpublished; ours is 1:1: --data caption=PAIRS:1,rec=GROUNDED:1.",
            "Template chat is the paper's Question/Answer around REC; captions have no prompt.",
            _EMA_NOTE,
            _COMMON_NOTE,
        ),
    )


def ablation() -> Recipe:
    """Stage 1 in short, for the rows of the paper's ablation table."""
    return Recipe(
        config=replace(stage1().config, steps=6000, warmup_steps=600, ema=_EMA_SHORT),
        published=_fields("steps global_batch"),
        source="paper v2, table 4",
        notes=(
            "All else is stage 1's; the warm-up is a tenth of the steps, as there.",
            _SHORT_EMA_NOTE,
        ),
    )


def grounding() -> Recipe:
    """On after stage 2 with the four kinds of grounding data (GC, REG, REC, GroundedVQA)."""
    return Recipe(
        config=replace(
            stage2().config,
            task="rec",
            template="base",
            image_size=490,
            resize_at=(),
            steps=6000,
            warmup_steps=120,
            dropout=0.0,
            ema=_EMA_SHORT,
        ),
        source="ours; the paper names the data of CogVLM-grounding, but no settings",
        notes=(
            "--data grounded_caption=A,reg=A,rec=A,grounded_vqa=B; weights are yours to choose.",
            "Template base is that of the released grounding weights.",
            _SHORT_EMA_NOTE,
        ),
    )


def sft_v1() -> Recipe:
    """Chat as first published: all but the tower, the language model at a tenth."""
    return Recipe(
        config=TrainConfig(
            task="dialogue",
            template="chat",
            image_size=490,
            steps=8000,
            global_batch=640,
            trains=_groups(*{*_EVERY} - {"vit", "patch_and_pos"}),
            lr=1e-5,
            lr_scale=_LANGUAGE_TENTH,
            warmup_steps=50,
            checkpoint_activations="decoder",
        ),
        published=_fields("image_size steps global_batch trains lr lr_scale warmup_steps"),
        source="paper v1, on fine-tuning; the side is that of the released chat weights",
        notes=(
            "Weight decay, betas and eps are those of pretraining.",
            "No averaged weights: the paper speaks of them in pretraining only.",
            _COMMON_NOTE,
        ),
    )


def sft_v2() -> Recipe:
    """Chat of the second paper: everything, the tower at a tenth."""
    return Recipe(
        config=TrainConfig(
            task="dialogue",
            template="chat",
            image_size=490,
            steps=6000,
            global_batch=1024,
            trains=_EVERY,
            lr=1e-5,
            lr_scale=_VIT_TENTH,
            warmup_steps=50,
            weight_decay=0.1,
            betas=(0.9, 0.95),
            eps=1e-8,
            dropout=0.1,
            checkpoint_activations="both",
        ),
        published=_fields(
            "image_size steps global_batch trains lr lr_scale weight_decay betas eps dropout"
        ),
        source="paper v2, appendix",
        notes=(
            "The warm-up is that of the first paper's chat.",
            "No averaged weights: the paper speaks of them in pretraining only.",
            _COMMON_NOTE,
        ),
    )


def multitask() -> Recipe:
    """The settings of `sft_v2` on question-answering sets with short answers."""
    told = sft_v2()
    return replace(
        told,
        config=replace(told.config, task="vqa", template="vqa"),
        notes=(
            "With dialogues in the mixture use --template chat: short answers keep their style.",
            *told.notes,
        ),
    )


def cogvlm2_sft() -> Recipe:
    """First alignment of CogVLM2: everything, the tower at a tenth, 1344 px as the model has."""
    return Recipe(
        config=TrainConfig(
            task="dialogue",
            template="chat",
            steps=3000,
            global_batch=2340,
            trains=_EVERY,
            lr=1e-5,
            lr_scale=_VIT_TENTH,
            warmup_steps=50,
            checkpoint_activations="both",
        ),
        published=_fields("steps global_batch trains lr lr_scale"),
        source="CogVLM2 paper, arXiv 2408.16500",
        notes=(
            "Warm-up, weight decay, betas and eps are those of CogVLM.",
            _COMMON_NOTE,
        ),
    )


def finetune_grounding() -> Recipe:
    """Own boxes on top of the official grounding-generalist: experts and adapter."""
    return Recipe(
        config=TrainConfig(
            task="rec",
            template="base",
            image_size=490,
            steps=2000,
            global_batch=64,
            trains=_PRETRAIN,
            lr=1e-5,
            warmup_steps=40,
            checkpoint_activations="decoder",
        ),
        source="ours; no fine-tuning of the grounding weights is published",
        notes=(
            "For LoRA instead of the experts: --trains lora --lora_rank 10.",
            "Steps and batch suit some 10,000 to 100,000 samples; --epochs counts passes instead.",
        ),
    )


def specialist() -> Recipe:
    """One benchmark's training split, for numbers of a specialist."""
    return Recipe(
        config=TrainConfig(
            task="vqa",
            template="vqa",
            image_size=490,
            steps=2000,
            global_batch=256,
            trains=_PRETRAIN,
            lr=1e-5,
            warmup_steps=40,
            checkpoint_activations="decoder",
        ),
        source="ours; the paper has specialists' numbers, but no settings",
        notes=(
            "For other benchmarks: --task caption --template base, or --task rec --template base.",
            "--epochs counts passes over the split instead of steps.",
        ),
    )


def lora() -> Recipe:
    """The official fine-tuning demo of CogVLM: LoRA on attention of language model and tower."""
    return Recipe(
        config=TrainConfig(
            task="vqa",
            template="base",
            image_size=490,
            steps=800,
            global_batch=32,
            trains=("lora",),
            lr=1e-5,
            warmup_steps=16,
            schedule="cosine",
            weight_decay=0.05,
            betas=(0.9, 0.95),
            eps=1e-8,
            clip=0.1,
            lora_rank=10,
            lora_alpha=1.0,
            lora_targets=r"language_expert_|vision\.transformer\..*\.attention\.",
            checkpoint_activations="both",
        ),
        published=_fields(
            "template image_size steps global_batch lr warmup_steps schedule weight_decay betas "
            "eps clip lora_rank lora_alpha lora_targets"
        ),
        source="THUDM/CogVLM, finetune_demo",
        notes=(
            "The batch is 4 a GPU on the script's 8 GPUs, the warm-up 0.02 of the steps.",
            "The demo also trains the MLPs of tower blocks 46 to 54; these stay frozen here.",
        ),
    )


_VILA_PAIRS = 595_000  # LLaVA-CC3M
_VILA_WEB = 25_000_000 + 25_000_000 // 4  # COYO pairs; MMC4 documents of four images each
_VILA_SFT = 665_000 + 1_000_000  # LLaVA-1.5's instructions; texts of FLAN
_VILA_PUBLISHED = _fields("trains lr global_batch schedule weight_decay")
_VILA_NOTES = (
    "Steps are one pass over the published number of samples, the warm-up 0.03 of them.",
    "Betas, eps, clip and the cosine to 0 are defaults of the scripts' trainer.",
)


def vila_stage0() -> Recipe:
    """VILA's projector alone, on caption pairs."""
    return Recipe(
        config=_vila(
            task="caption",
            trains=_groups(*stage("projector")),
            lr=1e-3,
            global_batch=2048,
            samples=_VILA_PAIRS,
            checkpoint_activations="decoder",
        ),
        published=_VILA_PUBLISHED,
        source="NVlabs/VILA, scripts/v1_5/release",
        notes=_VILA_NOTES,
    )


def vila_stage1() -> Recipe:
    """VILA's pretraining: projector and language model, on interleaved documents and pairs."""
    return Recipe(
        config=_vila(
            task="document",
            trains=_groups(*stage("vila_pretrain")),
            lr=5e-5,
            global_batch=1024,
            samples=_VILA_WEB,
            checkpoint_activations="decoder",
        ),
        published=_VILA_PUBLISHED,
        source="NVlabs/VILA, scripts/v1_5/release",
        notes=(
            "1:1 by images, so 1:4 by samples: --data document=MMC4:1,caption=COYO:4.",
            *_VILA_NOTES,
        ),
    )


def vila_stage2() -> Recipe:
    """VILA's instruction tuning: everything, with texts mixed in."""
    return Recipe(
        config=_vila(
            task="dialogue",
            trains=_EVERY,
            lr=1e-4,
            global_batch=1024,
            samples=_VILA_SFT,
            template="chat",
            checkpoint_activations="both",
        ),
        published=_VILA_PUBLISHED - {"global_batch"},
        source="NVlabs/VILA, scripts/v1_5/release",
        notes=(
            "The scripts have 256 samples a node and no number of nodes; ours is stage 1's batch.",
            "The learning rate is that for 3B to 13B; the paper's own script has 2e-5.",
            "Template chat is ours, as is the size of the data: 665,000 dialogues, 1 M texts.",
            *_VILA_NOTES,
        ),
    )


def _vila(*, samples: int, global_batch: int, **settings: Any) -> TrainConfig:
    steps = math.ceil(samples / global_batch)
    return TrainConfig(
        steps=steps,
        global_batch=global_batch,
        warmup_steps=round(0.03 * steps),
        schedule="cosine",
        lr_floor=0.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        **settings,
    )


def debug() -> Recipe:
    """A run of the `debug` model on a CPU in no time, every group trained."""
    return Recipe(
        config=TrainConfig(
            model="debug",
            steps=30,
            global_batch=16,
            workers=1,
            trains=_EVERY,
            lr=1e-3,
            warmup_steps=5,
            ema=0.99,
            precision="fp32",
            device="cpu",
            snapshot_every=10,
        ),
        source="ours; for tests and a first look",
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    make.__name__: make
    for make in (
        stage1,
        stage2,
        ablation,
        grounding,
        sft_v1,
        sft_v2,
        multitask,
        cogvlm2_sft,
        finetune_grounding,
        specialist,
        lora,
        vila_stage0,
        vila_stage1,
        vila_stage2,
        debug,
    )
}


def recipe(name: str) -> Recipe:
    """Return a named recipe.

    Raises:
        ValueError: The name is unknown; lists the known ones.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown training preset {name!r}; {suggest(name, RECIPES)}")
    return RECIPES[name]()


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A row of the paper's ablation table, as changes to the `ablation` recipe."""

    override: tuple[str, ...] = ()
    """Model settings as SETTING=VALUE, the value as JSON or a bare word."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the training config."""


ABLATIONS: dict[str, Ablation] = {
    "default": Ablation(),
    "adapter_only": Ablation(
        override=("expert.layers=none",), changes={"trains": _groups("adapter", "boi_eoi")}
    ),
    "llm_and_adapter": Ablation(
        override=("expert.layers=none",),
        changes={"trains": _groups("adapter", "boi_eoi", "llm", "embeddings", "head")},
    ),
    "expert_every_4th_layer": Ablation(override=("expert.layers=4",)),  # which of four is ours
    "expert_ffn_only": Ablation(override=('expert.parts=["ffn"]',)),
    "expert_from_random": Ablation(override=("expert.init=random",)),
    "full_image_mask": Ablation(override=("attn.image_mask=full",)),
    "image_ssl_loss": Ablation(override=("loss.image_ssl=1.0",)),  # the weight is ours
    "eva2_l_tower": Ablation(
        override=(
            "vision.tower=eva02_l",
            "vision.width=1024",
            "vision.num_layers=24",
            "vision.num_heads=16",
            "vision.mlp_size=2730",
            "vision.feature_layer=-2",
        )
    ),
    "no_ema": Ablation(changes={"ema": 0.0}),
}
"""Rows of table 4 of paper v2; `default` is the model and the recipe as they are."""


def resolve(recipe: Recipe, config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """Return what a run really uses, and in which published values it leaves its source.

    A smaller global batch has noisier gradients, so the recipe's learning rate goes down with the
    square root of the batch. A learning rate of the user's own stays.

    Args:
        recipe: What was asked for.
        config: The recipe's config after the user's flags.
    """
    told, scaled = recipe.config, ""
    if config.global_batch < told.global_batch and config.lr == told.lr:
        scaled = f"x sqrt({config.global_batch}/{told.global_batch}) for the smaller batch"
        lr = told.lr * math.sqrt(config.global_batch / told.global_batch)
        config = replace(config, lr=lr)
    if not recipe.published:
        why = f"; lr is {_shown(config.lr)}, not {_shown(told.lr)}: {scaled}" if scaled else ""
        return config, [f"ours: not from a paper{why}"]
    # --epochs takes the place of --steps, so it changes what is published about steps.
    names = recipe.published | ({"epochs"} if "steps" in recipe.published else set())
    lines = []
    for each in fields(config):
        ours, theirs = getattr(config, each.name), getattr(told, each.name)
        if each.name in names and not _same(ours, theirs):
            why = f": {scaled}" if each.name == "lr" and scaled else ""
            what = f"{each.name} is {_shown(ours)}, not {_shown(theirs)}"
            lines.append(f"deviates from the paper: {what}{why}")
    return config, lines


def _same(ours: Any, theirs: Any) -> bool:
    """Groups mean the same in every order."""
    return bool(sorted(ours) == sorted(theirs) if _are_names(ours) else ours == theirs)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if _are_names(value) else str(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], str)
