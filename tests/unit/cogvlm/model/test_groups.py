"""Parameter groups: published counts, every name has one, and what each stage trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cogvlm.model.config import Expert, Loss
from cogvlm.model.groups import GROUPS, STAGES, counts, group_of, shapes, stage
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from cogvlm.model.variants.cogvlm2 import cogvlm2_19b
from cogvlm.model.variants.glm4v import glm4v_9b
from cogvlm.model.variants.small import cogvlm_1b, debug
from cogvlm.model.variants.vila import vila_7b

LANGUAGE = ("llm", "embeddings", "head")


def parameters(found: dict[str, int], *groups: str) -> int:
    return sum(found[group] for group in groups)


def test_published_counts_of_cogvlm() -> None:
    found = counts(cogvlm_17b_490())
    assert parameters(found, *LANGUAGE) == 6_738_415_616
    assert found["expert"] == 6_476_005_376
    assert parameters(found, "adapter", "boi_eoi") == 142_622_720
    assert found["patch_and_pos"] == 3_254_272
    assert found["vit"] == 4_279_387_392
    assert found["image_head"] == 0
    assert parameters(found, *STAGES["stage1"]) == 6_618_628_096


def test_published_counts_of_cogvlm2() -> None:
    found = counts(cogvlm2_19b())
    assert parameters(found, *LANGUAGE) == 8_030_261_248
    assert found["expert"] == 6_979_518_464
    assert parameters(found, "adapter", "boi_eoi") == 196_364_032
    assert found["patch_and_pos"] == 17_574_144
    assert found["vit"] == 4_279_387_392


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (cogvlm_17b_224, 17_637_948_928),
        (cogvlm_17b_490, 17_639_685_376),
        (cogvlm2_19b, 19_503_105_280),
        (glm4v_9b, 13_906_320_896),
    ],
)
def test_totals(make, expected: int) -> None:
    assert sum(counts(make()).values()) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.vision.patch_embedding.cls_embedding", "patch_and_pos"),
        ("model.vision.patch_embedding.position_embedding.weight", "patch_and_pos"),
        ("model.vision.tower.pos_embed", "patch_and_pos"),
        ("model.vision.tower.patch_embed.proj.bias", "patch_and_pos"),
        ("model.vision.tower.embeddings.class_embedding", "patch_and_pos"),
        ("model.vision.tower.vision_model.embeddings.patch_embedding.weight", "patch_and_pos"),
        ("model.vision.tower.pre_layrnorm.weight", "vit"),
        ("model.vision.tower.blocks.0.attn.q_proj.bias", "vit"),
        ("model.vision.transformer.layers.62.mlp.fc2.bias", "vit"),
        ("model.vision.conv.bias", "adapter"),
        ("model.vision.linear_proj.queries", "adapter"),
        ("model.vision.boi", "boi_eoi"),
        ("model.layers.3.self_attn.vision_expert_query_key_value.lora_A.weight", "expert"),
        ("model.layers.3.mlp.vision_mlp.up_proj.weight", "expert"),
        ("model.layers.31.post_attention_layernorm.weight", "llm"),
        ("model.layers.3.mlp.language_mlp.up_proj.weight", "llm"),
        ("model.norm.weight", "llm"),
        ("model.embed_tokens.weight", "embeddings"),
        ("lm_head.weight", "head"),
        ("image_head.proj.weight", "image_head"),
    ],
)
def test_group_of(name: str, expected: str) -> None:
    assert group_of(name) == expected


@pytest.mark.parametrize("name", ["module.model.norm.weight", "model.layers.0.router", "", "boi"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no parameter group has .*strip"):
        group_of(name)


def test_low_rank_experts_are_experts() -> None:
    config = replace(debug(), expert=Expert(kind="lora", rank=2))
    found = counts(config)
    assert found["expert"] == 2 * 2 * ((64 + 192) + (64 + 64) + 3 * (64 + 160))
    assert {**found, "expert": 0} == {**counts(debug()), "expert": 0}


def test_tied_embeddings_leave_no_head() -> None:
    tied, plain = counts(replace(debug(), tie_embeddings=True)), counts(debug())
    assert tied["head"] == 0 and tied["embeddings"] == plain["embeddings"] == plain["head"]


def test_the_image_loss_has_a_head() -> None:
    assert counts(replace(debug(), loss=Loss(image_ssl=1.0)))["image_head"] == 64 * 48


@pytest.mark.parametrize("make", [cogvlm_1b, vila_7b])
def test_library_towers_split_into_blocks_and_patches(make) -> None:
    config = make()
    names = [name for name in shapes(config) if name.startswith("model.vision.tower.")]
    patches = [name for name in names if group_of(name) == "patch_and_pos"]
    assert all("patch_embed" in n or "pos" in n or "cl" in n.rpartition(".")[2] for n in patches)
    found = counts(config)
    grid, width = config.vision.grid_size, config.vision.width
    assert found["patch_and_pos"] - (grid**2 + 2 + 3 * 14**2) * width in (
        0,
        width,
    )  # a bias or none
    assert found["vit"] > 250e6


def test_stages_train_known_groups() -> None:
    for name, groups in STAGES.items():
        assert groups <= set(GROUPS), name
        assert stage(name) == groups
    assert STAGES["sft"] == set(GROUPS)
    assert not STAGES["stage1"] & {"vit", "patch_and_pos", *LANGUAGE}


def test_an_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown stage 'stage3'; did you mean stage2"):
        stage("stage3")


@pytest.mark.parametrize(
    ("expert", "trained", "billions"),
    [
        (Expert(), ("expert", "adapter", "boi_eoi"), "6.6"),
        (Expert(layers="none"), ("adapter", "boi_eoi"), "0.14"),
        (Expert(layers="none"), (*LANGUAGE, "adapter", "boi_eoi"), "6.9"),
        (Expert(layers=4), ("expert", "adapter", "boi_eoi"), "1.8"),  # the paper prints 1.7
        (Expert(parts=("ffn",)), ("expert", "adapter", "boi_eoi"), "4.5"),  # it prints 4.4
    ],
)
def test_trainable_parameters_of_the_papers_ablations(
    expert: Expert, trained: tuple[str, ...], billions: str
) -> None:
    found = counts(replace(cogvlm_17b_224(), expert=expert))
    places = len(billions.partition(".")[2])
    assert f"{parameters(found, *trained) / 1e9:.{places}f}" == billions
