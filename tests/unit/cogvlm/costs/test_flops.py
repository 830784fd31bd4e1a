"""The FLOP rule: the published anchors, torch's own counter, and what experts cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cogvlm.costs.flops import count
from cogvlm.model import init
from cogvlm.model.config import Expert, Loss, ModelConfig, Projector
from cogvlm.model.groups import GROUPS, STAGES, counts, group_of
from cogvlm.model.layout import IGNORE, Sample, collate
from cogvlm.model.towers import Vision
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from cogvlm.model.variants.small import debug

TERA = 10**12
TOY = replace(debug(), vocab_size=96, num_kv_heads=2)
TEXT = 9


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Toy matrices gain nothing from threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def measured(config: ModelConfig, images: int, trained: frozenset[str]) -> int:
    """What torch counts while the model computes a sample's loss, and its gradients if any.

    The plain attention is chosen because its products are counted as they are: in full.
    """
    model = init.build(config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(group_of(name) in trained)
    span, size = config.span_size, config.vision.image_size
    sample = Sample(
        ids=[config.pad_id] * span * images + [5] * TEXT,
        labels=[IGNORE] * span * images + [5] * TEXT,
        spans=[(at * span, (at + 1) * span) for at in range(images)],
        images=[torch.zeros(3, size, size)] * images,
    )
    batch = collate([[sample]], config)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss, _ = model.loss(batch)
        if trained:
            loss.backward()
    return counter.get_total_flops()


def expected(config: ModelConfig, images: int, trained: frozenset[str]) -> float:
    """The rule without its conventions: full attention, and each slot as the model routes it."""
    rule = count(config, images=images, text_tokens=TEXT, trained=trained)
    total = rule.total + rule.attention  # the rule has half of causal attention
    image_token = rule.image / (images * config.span_size)
    text_token, head_token = rule.text / TEXT, rule.head / TEXT
    if config.has_experts:  # EOI is a language token
        return total + images * (text_token - image_token + head_token)
    return total + images * head_token  # EOI's output predicts text


STAGE_NAMES = [*STAGES, "forward"]


def groups(stage: str) -> frozenset[str]:
    return STAGES.get(stage, frozenset())


@pytest.mark.parametrize("stage", STAGE_NAMES)
@pytest.mark.parametrize("images", [1, 2])
def test_equals_torchs_count(stage: str, images: int) -> None:
    assert measured(TOY, images, groups(stage)) == expected(TOY, images, groups(stage))


@pytest.mark.parametrize("stage", ["stage1", "sft"])
@pytest.mark.parametrize(
    "expert",
    [
        Expert(layers="none"),
        Expert(layers=2),
        Expert(layers=(1,)),
        Expert(parts=("ffn",)),
        Expert(parts=("qkv", "dense")),
        Expert(kind="lora", rank=4),
    ],
    ids=repr,
)
def test_equals_torchs_count_with_other_experts(stage: str, expert: Expert) -> None:
    config = replace(TOY, expert=expert, num_layers=3)
    assert measured(config, 1, groups(stage)) == expected(config, 1, groups(stage))


@pytest.mark.parametrize("stage", ["stage1", "sft"])
@pytest.mark.parametrize(
    "projector",
    [
        Projector(kind="linear"),
        Projector(kind="mlp2x_gelu"),
        Projector(kind="transformer", mlp_size=80, num_heads=4),
        Projector(kind="conv_glu", mlp_size=80, conv_width=40),
        Projector(kind="downsample_2x2"),
        Projector(kind="downsample_3x3"),
        Projector(kind="resampler", num_queries=5, num_heads=4),
    ],
    ids=lambda projector: projector.kind,
)
def test_equals_torchs_count_with_other_projectors(stage: str, projector: Projector) -> None:
    config = replace(TOY, projector=projector)
    assert measured(config, 1, groups(stage)) == expected(config, 1, groups(stage))


@pytest.mark.parametrize("stage", ["stage1", "sft"])
@pytest.mark.parametrize("tower", ["eva02_l", "clip_l_336", "siglip_so400m"])
def test_equals_torchs_count_with_other_towers(stage: str, tower: str) -> None:
    sizes = Vision(
        tower=tower, image_size=28, width=32, num_layers=3, num_heads=2, mlp_size=48,
        feature_layer=-2,
    )  # fmt: skip
    config = replace(TOY, vision=sizes)
    assert measured(config, 1, groups(stage)) == expected(config, 1, groups(stage))


def test_equals_torchs_count_with_the_image_loss_and_tied_embeddings() -> None:
    config = replace(TOY, loss=Loss(image_ssl=1.0), tie_embeddings=True)
    rule = count(config, images=1, text_tokens=TEXT, trained=GROUPS)
    plain = count(replace(config, loss=Loss()), images=1, text_tokens=TEXT, trained=GROUPS)
    eoi = rule.text / TEXT - rule.image / config.span_size + plain.head / TEXT
    assert measured(config, 1, frozenset(GROUPS)) == rule.total + rule.attention + eoi


@pytest.mark.parametrize(
    ("config", "image_tokens", "parts", "total"),
    [
        (cogvlm_17b_224(), 258, (2.23, 0.22, 10.03, 1.66, 0.12), 14.24),
        (cogvlm_17b_490(), 1227, (11.17, 1.03, 47.68, 1.66, 1.34), 62.9),
    ],
)
def test_the_anchors_of_a_caption_in_stage_1(
    config: ModelConfig, image_tokens: int, parts: tuple[float, ...], total: float
) -> None:
    """They are for a model that computes what no loss needs, too."""
    assert config.span_size == image_tokens
    whole = replace(config, skip_unused=False)
    rule = count(whole, images=1, text_tokens=64, trained=STAGES["stage1"])
    found = (rule.tower, rule.projector, rule.image, rule.text, rule.head + rule.attention)
    assert [each / TERA for each in found] == pytest.approx(parts, rel=0.01, abs=0.006)
    assert rule.total / TERA == pytest.approx(total, rel=0.01)


def test_what_no_loss_needs_is_not_counted() -> None:
    config = cogvlm_17b_224()
    whole = count(
        replace(config, skip_unused=False), images=1, text_tokens=64, trained=STAGES["stage1"]
    )
    rule = count(config, images=1, text_tokens=64, trained=STAGES["stage1"])
    unused = 4096 * 4096 + 3 * 4096 * 11_008  # the last layer's output projection and MLP
    assert whole.total - rule.total == 6 * unused * 258
    assert (whole.total - rule.total) / whole.total == pytest.approx(0.0165, abs=1e-4)


@pytest.mark.parametrize("trained", [frozenset(), frozenset(GROUPS)])
def test_experts_double_the_layers_and_cost_no_flops(trained: frozenset[str]) -> None:
    config = replace(cogvlm_17b_490(), skip_unused=False)
    plain = replace(config, expert=Expert(layers="none"))
    sizes = counts(config)
    norms = (2 * config.num_layers + 1) * config.hidden_size
    assert sizes["expert"] == sizes["llm"] - norms and counts(plain)["expert"] == 0
    assert count(config, images=1, text_tokens=64, trained=trained) == count(
        plain, images=1, text_tokens=64, trained=trained
    )


def test_a_frozen_tower_runs_forward_only() -> None:
    frozen = count(TOY, images=1, text_tokens=TEXT, trained=STAGES["stage1"])
    forward = count(TOY, images=1, text_tokens=TEXT)
    trained = count(TOY, images=1, text_tokens=TEXT, trained=STAGES["sft"])
    assert frozen.tower == forward.tower < trained.tower < 3 * forward.tower
    assert frozen.text == 2 * forward.text, "input gradients only"
    assert frozen.image == 3 * forward.image and trained.text == 3 * forward.text


def test_linear_in_images_but_for_attention() -> None:
    one, two = (astuple(count(TOY, images=n, text_tokens=TEXT)) for n in (1, 2))
    none = count(TOY, images=0, text_tokens=TEXT)
    assert two[:3] == tuple(2 * each for each in one[:3])
    assert one[3:5] == two[3:5] == (none.text, none.head)
    length = TOY.span_size + TEXT
    width = TOY.num_heads * TOY.head_size
    assert one[5] == 2 * length**2 * width * TOY.num_layers
    assert none.tower == none.projector == none.image == 0
