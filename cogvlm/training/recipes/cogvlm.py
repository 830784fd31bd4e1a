"""CogVLM: pretraining, its ablation, grounding and the chat models (arXiv 2311.03079)."""

from __future__ import annotations

from dataclasses import replace

from cogvlm.training.config import TrainConfig
from cogvlm.training.recipes import (
    COMMON_NOTE,
    EMA_LONG,
    EMA_NOTE,
    EMA_SHORT,
    EVERY_GROUP,
    LANGUAGE_TENTH,
    PRETRAIN_GROUPS,
    SHORT_EMA_NOTE,
    VIT_TENTH,
    Recipe,
    field_names,
    groups,
)


def stage1() -> Recipe:
    """Captions at 224 px: experts, adapter, BOI and EOI learn on web pairs."""
    return Recipe(
        config=TrainConfig(
            task="caption",
            template="base",
            image_size=224,
            steps=120_000,
            global_batch=8192,
            trains=PRETRAIN_GROUPS,
            lr=1e-4,
            warmup_steps=12_000,
            schedule="cosine",
            weight_decay=0.05,
            betas=(0.9, 0.95),
            eps=1e-8,
            dropout=0.1,
            ema=EMA_LONG,
        ),
        published=field_names(
            "task image_size steps global_batch trains lr warmup_steps schedule weight_decay betas "
            "eps dropout"
        ),
        source="paper v2, appendix A.1",
        notes=(
            "The prompt is empty, as the base models are used; the paper does not say.",
            EMA_NOTE,
            COMMON_NOTE,
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
        published=field_names(
            "template image_size resize_at steps global_batch trains lr warmup_steps schedule "
            "weight_decay betas eps dropout"
        ),
        source="paper v2, appendix A.1",
        notes=(
            "The ratio is unpublished; ours is 1:1: --data caption=PAIRS:1,rec=GROUNDED:1.",
            "Template chat is the paper's Question/Answer around REC; captions have no prompt.",
            EMA_NOTE,
            COMMON_NOTE,
        ),
    )


def ablation() -> Recipe:
    """Stage 1 in short, for the rows of the paper's ablation table."""
    return Recipe(
        config=replace(stage1().config, steps=6000, warmup_steps=600, ema=EMA_SHORT),
        published=field_names("steps global_batch"),
        source="paper v2, table 4",
        notes=(
            "All else is stage 1's; the warm-up is a tenth of the steps, as there.",
            SHORT_EMA_NOTE,
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
            ema=EMA_SHORT,
        ),
        source="ours; the paper names the data of CogVLM-grounding, but no settings",
        notes=(
            "--data grounded_caption=A,reg=A,rec=A,grounded_vqa=B; weights are yours to choose.",
            "Template base is that of the released grounding weights.",
            SHORT_EMA_NOTE,
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
            trains=groups(*{*EVERY_GROUP} - {"vit", "patch_and_pos"}),
            lr=1e-5,
            lr_scale=LANGUAGE_TENTH,
            warmup_steps=50,
            checkpoint_activations="decoder",
        ),
        published=field_names("image_size steps global_batch trains lr lr_scale warmup_steps"),
        source="paper v1, on fine-tuning; the side is that of the released chat weights",
        notes=(
            "Weight decay, betas and eps are those of pretraining.",
            "No averaged weights: the paper speaks of them in pretraining only.",
            COMMON_NOTE,
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
            trains=EVERY_GROUP,
            lr=1e-5,
            lr_scale=VIT_TENTH,
            warmup_steps=50,
            weight_decay=0.1,
            betas=(0.9, 0.95),
            eps=1e-8,
            dropout=0.1,
            checkpoint_activations="both",
        ),
        published=field_names(
            "image_size steps global_batch trains lr lr_scale weight_decay betas eps dropout"
        ),
        source="paper v2, appendix",
        notes=(
            "The warm-up is that of the first paper's chat.",
            "No averaged weights: the paper speaks of them in pretraining only.",
            COMMON_NOTE,
        ),
    )


def multitask() -> Recipe:
    """The settings of `sft_v2` on question-answering sets with short answers."""
    chat = sft_v2()
    return replace(
        chat,
        config=replace(chat.config, task="vqa", template="vqa"),
        notes=(
            "With dialogues in the mixture use --template chat: short answers keep their style.",
            *chat.notes,
        ),
    )
