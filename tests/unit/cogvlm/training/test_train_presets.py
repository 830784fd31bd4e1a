"""Named training runs have the published values, and say where a run leaves them.

After a change on purpose: `python -m scripts.make_golden`, and look at the difference.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import pytest

from cogvlm.model.config import ModelConfig
from cogvlm.model.groups import GROUPS, counts, shapes, stage
from cogvlm.model.presets import PRESETS
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from cogvlm.model.variants.small import cogvlm_1b
from cogvlm.training.config import TrainConfig
from cogvlm.training.presets import ABLATIONS, RECIPES, recipe, resolve
from scripts.make_golden import TRAIN_PRESETS, train_presets

# Fields that differ from TrainConfig(): a preset changes these and nothing else.
CHANGED = {
    "stage1": "image_size steps global_batch warmup_steps dropout ema",
    "stage2": "image_size steps global_batch warmup_steps dropout ema template resize_at lr "
    "checkpoint_activations",
    "ablation": "image_size steps global_batch warmup_steps dropout ema",
    "grounding": "task image_size steps global_batch lr warmup_steps ema checkpoint_activations",
    "sft_v1": "task template image_size steps global_batch trains lr lr_scale warmup_steps "
    "checkpoint_activations",
    "sft_v2": "task template image_size steps global_batch trains lr lr_scale warmup_steps "
    "weight_decay dropout checkpoint_activations",
    "multitask": "task template image_size steps global_batch trains lr lr_scale warmup_steps "
    "weight_decay dropout checkpoint_activations",
    "cogvlm2_sft": "task template steps global_batch trains lr lr_scale warmup_steps "
    "checkpoint_activations",
    "finetune_grounding": "task image_size steps lr warmup_steps checkpoint_activations",
    "specialist": "task template image_size steps global_batch lr warmup_steps "
    "checkpoint_activations",
    "lora": "task image_size steps global_batch trains lr warmup_steps clip lora_rank lora_alpha "
    "lora_targets checkpoint_activations",
    "vila_stage0": "steps global_batch trains lr warmup_steps lr_floor weight_decay betas "
    "checkpoint_activations",
    "vila_stage1": "task steps global_batch trains lr warmup_steps lr_floor weight_decay betas "
    "checkpoint_activations",
    "vila_stage2": "task template steps global_batch trains warmup_steps lr_floor weight_decay "
    "betas checkpoint_activations",
    "debug": "model steps global_batch trains lr warmup_steps ema precision device snapshot_every",
}
FIELDS = {each.name for each in fields(TrainConfig)}


def differing(one: TrainConfig, other: TrainConfig) -> set[str]:
    return {name for name in FIELDS if getattr(one, name) != getattr(other, name)}


def test_resolved_presets_are_the_golden_ones() -> None:
    golden = json.loads(TRAIN_PRESETS.read_text(encoding="utf-8"))
    assert json.loads(train_presets()) == golden


def test_every_preset_has_its_table() -> None:
    assert list(CHANGED) == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_preset_changes_only_what_its_table_says(name: str) -> None:
    assert differing(recipe(name).config, TrainConfig()) == {*CHANGED[name].split()}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_sound(name: str) -> None:
    told = recipe(name)
    config = told.config
    assert told.published <= FIELDS
    assert told.source.startswith("ours") == (not told.published)
    assert config.warmup_steps < config.steps
    assert all(step < config.steps for step, _ in config.resize_at)
    assert list(config.trains) == [group for group in GROUPS if group in config.trains]
    assert ("expert" in config.trains) == ("image_head" in config.trains)
    assert {*config.lr_scale} <= {*config.trains}
    assert config.model in ("", *PRESETS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_deviates_in_nothing_from_itself(name: str) -> None:
    told = recipe(name)
    lines = [] if told.published else ["ours: not from a paper"]
    assert resolve(told, told.config) == (told.config, lines)


def test_pretraining_is_the_papers_table() -> None:
    columns = ("steps", "warmup_steps", "global_batch", "lr", "weight_decay", "dropout")
    values = {
        name: tuple(getattr(recipe(name).config, column) for column in columns)
        for name in ("stage1", "stage2")
    }
    assert values == {
        "stage1": (120_000, 12_000, 8192, 1e-4, 0.05, 0.1),
        "stage2": (60_000, 1200, 1024, 1e-5, 0.05, 0.1),
    }
    stage2 = recipe("stage2").config
    assert [stage2.image_size_at(step) for step in (0, 29_999, 30_000)] == [224, 224, 490]


def test_chat_v1_freezes_the_tower_and_v2_slows_it() -> None:
    tower = {"vit", "patch_and_pos"}
    v1, v2 = recipe("sft_v1").config, recipe("sft_v2").config
    assert {*v2.trains} - {*v1.trains} == tower
    assert v1.lr_scale == {"llm": 0.1, "embeddings": 0.1, "head": 0.1}
    assert v2.lr_scale == dict.fromkeys(tower, 0.1)


@pytest.mark.parametrize("name", ["multitask", "sft_v2"])
def test_multitask_has_the_hyperparameters_of_the_second_papers_chat(name: str) -> None:
    assert differing(recipe(name).config, recipe("sft_v2").config) <= {"task", "template"}


def test_lora_is_on_attention_of_language_model_and_tower() -> None:
    pattern = recipe("lora").config.lora_targets
    found = {
        re.sub(r"\.\d+\.", ".N.", name)
        for name in shapes(cogvlm_17b_490())
        if re.search(pattern, name) and name.endswith("weight")
    }
    assert found == {
        "model.layers.N.self_attn.language_expert_query_key_value.weight",
        "model.layers.N.self_attn.language_expert_dense.weight",
        "model.vision.transformer.layers.N.attention.query_key_value.weight",
        "model.vision.transformer.layers.N.attention.dense.weight",
    }


def test_a_smaller_batch_lowers_the_rate_by_the_square_root() -> None:
    told = recipe("stage1")
    config, lines = resolve(told, replace(told.config, global_batch=512))
    assert config == replace(told.config, global_batch=512, lr=1e-4 / 4)
    assert lines == [
        "deviates from the paper: global_batch is 512, not 8192",
        "deviates from the paper: lr is 2.5e-05, not 0.0001: x sqrt(512/8192) for the smaller "
        "batch",
    ]


def test_the_users_own_rate_stays() -> None:
    told = recipe("stage1")
    asked = replace(told.config, global_batch=512, lr=3e-5)
    config, lines = resolve(told, asked)
    assert config == asked
    assert lines[1] == "deviates from the paper: lr is 3e-05, not 0.0001"


def test_a_larger_batch_leaves_the_rate() -> None:
    told = recipe("sft_v1")
    config, _ = resolve(told, replace(told.config, global_batch=1024))
    assert config.lr == told.config.lr


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"steps": 100}, "steps is 100, not 60000"),
        ({"epochs": 2}, "epochs is 2, not 0"),
        ({"resize_at": ()}, "resize_at is (), not ((30000, 490),)"),
        (
            {"trains": ("boi_eoi", "adapter")},
            "trains is boi_eoi, adapter, not adapter, boi_eoi, expert, image_head",
        ),
        ({"trains": ("image_head", "expert", "boi_eoi", "adapter")}, None),  # the same groups
        ({"ema": 0.0}, None),  # its decay is ours
        ({"output": "run", "data": "OUT", "workers": 4}, None),
    ],
)
def test_published_values_that_a_run_leaves(change: dict[str, Any], line: str | None) -> None:
    told = recipe("stage2")
    _, lines = resolve(told, replace(told.config, **change))
    assert lines == ([f"deviates from the paper: {line}"] if line else [])


def test_our_own_recipes_deviate_from_nothing() -> None:
    told = recipe("grounding")
    _, lines = resolve(told, replace(told.config, steps=10, weight_decay=0.0))
    assert lines == ["ours: not from a paper"]


def test_our_own_recipes_say_that_the_rate_was_lowered() -> None:
    told = recipe("finetune_grounding")
    config, lines = resolve(told, replace(told.config, global_batch=16))
    assert math.isclose(config.lr, 5e-6)
    assert lines == [
        "ours: not from a paper; lr is 5e-06, not 1e-05: x sqrt(16/64) for the smaller batch"
    ]


@pytest.mark.parametrize(
    ("name", "hint"), [("mine", "known: stage1, .*lora"), ("sftv2", r"did you mean sft_v2\?")]
)
def test_an_unknown_preset_names_the_nearest_or_all(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown training preset '{name}'; {hint}"):
        recipe(name)


def overridden(config: ModelConfig, override: Iterable[str]) -> ModelConfig:
    data = config.to_json()
    for each in override:
        path, _, word = each.partition("=")
        *parts, name = path.split(".")
        place = data
        for part in parts:
            place = place[part]
        assert name in place
        try:
            place[name] = json.loads(word)
        except json.JSONDecodeError:
            place[name] = word
    return ModelConfig.from_json(data)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("default", 6.6),
        ("adapter_only", 0.14),
        ("llm_and_adapter", 6.9),
        ("expert_every_4th_layer", 1.8),  # the paper prints 1.7
        ("expert_ffn_only", 4.5),  # it prints 4.4
        ("expert_from_random", 6.6),
        ("full_image_mask", 6.6),
        ("image_ssl_loss", 6.6),
        ("eva2_l_tower", 6.6),
        ("no_ema", 6.6),
    ],
)
def test_an_ablation_trains_as_many_parameters_as_its_row_says(name: str, billions: float) -> None:
    row, start = ABLATIONS[name], recipe("ablation").config
    model = overridden(cogvlm_17b_224(), row.override)
    config = replace(start, override=row.override, **row.changes)
    assert differing(config, start) == {*row.changes} | ({"override"} if row.override else set())
    found = counts(model)
    trained = sum(found[group] for group in config.trains if group != "image_head")
    places = 2 if billions < 1 else 1
    assert round(trained / 1e9, places) == billions


def test_every_row_of_the_ablation_table_changes_something() -> None:
    base = cogvlm_17b_224()
    models = {name: overridden(base, row.override) for name, row in ABLATIONS.items()}
    rows = [(json.dumps(models[name].to_json()), str(ABLATIONS[name].changes)) for name in models]
    assert len({*rows}) == len(ABLATIONS) == 10


def test_the_smaller_tower_of_the_ablation_is_that_of_our_small_model() -> None:
    model = overridden(cogvlm_17b_224(), ABLATIONS["eva2_l_tower"].override)
    assert model.vision == cogvlm_1b().vision


@pytest.mark.parametrize(
    ("name", "stage_name"),
    [
        ("stage1", "stage1"),
        ("stage2", "stage2"),
        ("sft_v2", "sft"),
        ("vila_stage0", "projector"),
        ("vila_stage1", "vila_pretrain"),
    ],
)
def test_stages_of_the_planner_and_of_the_trainer_agree(name: str, stage_name: str) -> None:
    assert {*recipe(name).config.trains} == stage(stage_name) - {"lora"}
