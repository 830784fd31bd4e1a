"""Runs that start from released weights: own boxes, one benchmark, LoRA."""

from __future__ import annotations

from cogvlm.training.config import TrainConfig
from cogvlm.training.recipes import PRETRAIN_GROUPS, Recipe, field_names


def finetune_grounding() -> Recipe:
    """Own boxes on top of the official grounding-generalist: experts and adapter."""
    return Recipe(
        config=TrainConfig(
            task="rec",
            template="base",
            image_size=490,
            steps=2000,
            global_batch=64,
            trains=PRETRAIN_GROUPS,
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
            trains=PRETRAIN_GROUPS,
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
        published=field_names(
            "template image_size steps global_batch lr warmup_steps schedule weight_decay betas "
            "eps clip lora_rank lora_alpha lora_targets"
        ),
        source="THUDM/CogVLM, finetune_demo",
        notes=(
            "The batch is 4 a GPU on the script's 8 GPUs, the warm-up 0.02 of the steps.",
            "The demo also trains the MLPs of tower blocks 46 to 54; these stay frozen here.",
        ),
    )
