"""What the model promises whatever its config: layouts agree, gradients exist, options work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny
from helpers.floats import CLOSE, in_float64
from torch import Tensor

from cogvlm.model import init
from cogvlm.model.config import Attn, Expert, Loss, ModelConfig, Position, Projector
from cogvlm.model.decoder import CogVLM
from cogvlm.model.layout import Batch, Sample, collate

PROJECTORS = {
    "glu": Projector(kind="glu", mlp_size=96),
    "linear": Projector(kind="linear"),
    "mlp2x_gelu": Projector(kind="mlp2x_gelu"),
    "transformer": Projector(kind="transformer", mlp_size=96, num_heads=4),
    "conv_glu": Projector(kind="conv_glu", mlp_size=96, conv_width=32),
    "downsample_2x2": Projector(kind="downsample_2x2"),
    "downsample_3x3": Projector(kind="downsample_3x3"),
    "resampler": Projector(kind="resampler", num_queries=5, num_heads=4),
}
VARIANTS = {
    "plain": tiny(),
    "grouped": tiny(num_kv_heads=2, expert=Expert(qkv_bias=True)),
    "every_2nd": tiny(expert=Expert(layers=2)),
    "layer_1": tiny(expert=Expert(layers=(1,))),
    "ffn_only": tiny(expert=Expert(parts=("ffn",))),
    "qkv_dense": tiny(expert=Expert(parts=("qkv", "dense"))),
    "lora": tiny(expert=Expert(kind="lora", rank=4, alpha=8.0)),
    "random": tiny(expert=Expert(init="random")),
    "no_expert": tiny(expert=Expert(layers="none")),
    "full_mask": tiny(attn=Attn(image_mask="full")),
    "sequential": tiny(position=Position(image="sequential")),
    "2d": tiny(position=Position(image="2d")),
    "ssl": tiny(loss=Loss(image_ssl=0.5)),
    "tied": tiny(tie_embeddings=True),
    "no_boundaries": tiny(boundaries=False),
    "all_outputs": tiny(skip_unused=False),
    "earlier_feature": tiny(vision=replace(tiny().vision, feature_layer=-2)),
} | {f"projector_{name}": tiny(projector=projector) for name, projector in PROJECTORS.items()}


@pytest.fixture(params=VARIANTS)
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return VARIANTS[request.param]


def mixed(config: ModelConfig) -> list[Sample]:
    """No, one and two images, the two adjacent."""
    return [
        sample(config, [3], seed=1),
        sample(config, [1, IMAGE, 4], seed=2),
        sample(config, [2, IMAGE, IMAGE, 1], seed=3),
    ]


def logits_alone(model: CogVLM, samples: list[Sample]) -> list[Tensor]:
    return [model(collate([[one]], model.config))[0] for one in samples]


@in_float64()
@torch.no_grad()
def test_padding_and_packing_change_nothing(config: ModelConfig) -> None:
    model = built(config).double()
    samples = mixed(config)
    alone = logits_alone(model, samples)
    right = model(collate([[one] for one in samples], config))
    left = model(collate([[one] for one in samples], config, side="left"))
    packed = model(collate([samples], config, length=sum(len(s.ids) for s in samples) + 2))[0]
    start = 0
    for row, expected in enumerate(alone):
        size = len(expected)
        torch.testing.assert_close(right[row, :size], expected, **CLOSE)
        torch.testing.assert_close(left[row, -size:], expected, **CLOSE)
        torch.testing.assert_close(packed[start : start + size], expected, **CLOSE)
        start += size


def test_every_parameter_has_a_gradient(config: ModelConfig) -> None:
    model = built(config)
    total, count = model.loss(collate([[one] for one in mixed(config)], config))
    (total / count).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    unused = ("vision_expert_dense", "vision_mlp", "lora") if not config.loss.image_ssl else ()
    last = f"model.layers.{config.num_layers - 1}."
    zero = [
        name
        for name, p in model.named_parameters()
        if not p.grad.any() and not (name.startswith(last) and any(part in name for part in unused))
    ]
    assert zero == []


def test_text_alone_gives_vision_zero_gradients(config: ModelConfig) -> None:
    model = built(config)
    total, count = model.loss(collate([[sample(config, [5])]], config))
    (total / count).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if "vision" in name or "image_head" in name:
            assert not parameter.grad.any(), name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("experts", ["all", "none"])
@in_float64()
def test_the_head_sees_no_image_slots(experts: str) -> None:
    config = tiny(expert=Expert(layers=experts))
    model, samples = built(config).double(), mixed(config)
    seen: list[int] = []
    head = model.head
    model.head = lambda hidden: (seen.append(len(hidden)), head(hidden))[1]
    batch = collate([[one] for one in samples], config)
    total, count = model.loss(batch)
    images = sum(len(one.images) for one in samples)
    assert seen == [batch.ids_BL.numel() - images * (config.span_size - 1)]
    logits = head_loss(model, batch)
    torch.testing.assert_close(total / count, logits, **CLOSE)


def head_loss(model: CogVLM, batch: Batch) -> Tensor:
    """The loss from the logits of all positions."""
    logits = model(batch)[:, :-1].flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, batch.labels_BL[:, 1:].flatten())


@in_float64()
def test_skipping_unused_outputs_changes_no_number() -> None:
    whole, skipping = built(tiny(skip_unused=False)).double(), built(tiny()).double()
    batch = collate([[one] for one in mixed(tiny())], tiny())
    for model in (whole, skipping):
        total, count = model.loss(batch)
        (total / count).backward()
    assert whole.loss(batch)[0].equal(skipping.loss(batch)[0])
    pairs = zip(whole.named_parameters(), skipping.named_parameters(), strict=True)
    for (name, first), (_, second) in pairs:
        torch.testing.assert_close(first.grad, second.grad, **CLOSE, msg=name)


def test_frozen_language_weights_cost_no_gradient() -> None:
    model = built(tiny())
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "vision" in name
    total, _ = model.loss(collate([[one] for one in mixed(tiny())], tiny()))
    total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        name for name, _ in model.named_parameters() if "vision" in name
    ]


@in_float64()
@torch.no_grad()
def test_experts_start_as_copies_and_lora_as_nothing() -> None:
    samples = mixed(tiny())
    plain = init.build(tiny(expert=Expert(layers="none")), dtype=torch.float64)
    expected = logits_alone(plain, samples)
    for expert in (Expert(), Expert(layers=2), Expert(kind="lora", rank=4)):
        actual = logits_alone(init.build(tiny(expert=expert), dtype=torch.float64), samples)
        for ours, theirs in zip(actual, expected, strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)
    config = tiny(expert=Expert(init="random"))
    random = logits_alone(init.build(config, dtype=torch.float64), samples)
    assert not torch.allclose(random[1], expected[1], atol=1e-3)


def test_the_full_mask_lets_an_image_see_its_end() -> None:
    def first_patch_moves(config: ModelConfig) -> bool:
        model = built(config)
        batch = collate([[sample(config, [1, IMAGE, 2])]], config)
        embedded, _ = model.model.embed(batch)
        changed = embedded.clone()
        changed[config.span_size] += 1.0  # EOI, the last slot of the image
        outputs = []
        for start in (embedded, changed):
            model.model.embed = lambda _, start=start: (start, None)
            outputs.append(model(batch)[0, 2])
        return not outputs[0].equal(outputs[1])

    assert first_patch_moves(tiny(attn=Attn(image_mask="full")))
    assert not first_patch_moves(tiny())


def test_position_kinds_differ() -> None:
    batch_of = lambda config: collate([[sample(config, [1, IMAGE, 4])]], config)  # noqa: E731
    outputs = {}
    for way in ("shared", "sequential", "2d"):
        config = tiny(position=Position(image=way))
        outputs[way] = built(config)(batch_of(config))
    assert not torch.allclose(outputs["shared"], outputs["sequential"], atol=1e-3)
    assert not torch.allclose(outputs["shared"], outputs["2d"], atol=1e-3)


def test_dropout_acts_in_training_only() -> None:
    model = built(tiny(dropout=0.3))
    batch = collate([[sample(tiny(), [1, IMAGE, 4])]], tiny())
    model.eval()
    assert model(batch).equal(model(batch))
    assert model(batch).equal(built(tiny()).eval()(batch))
    model.train()
    assert not model(batch).equal(model(batch))


@in_float64()
def test_image_loss_is_zero_for_a_perfect_guess() -> None:
    config = tiny(loss=Loss(image_ssl=1.0))
    head = built(config).image_head
    features = torch.randn(2, 16, config.vision.width)
    head.proj = torch.nn.Identity()
    hidden = torch.cat([features, torch.randn(2, 2, config.vision.width)], dim=1)
    torch.testing.assert_close(head(hidden, features), torch.tensor(0.0), **CLOSE)
    assert head(hidden.roll(1, dims=1), features) > 0.5


def test_a_seed_decides_every_weight_by_name() -> None:
    first, second = init.build(tiny(), seed=3), init.build(tiny(expert=Expert(layers=2)), seed=3)
    other = dict(second.named_parameters())
    shared = [name for name, _ in first.named_parameters() if name in other]
    assert all(dict(first.named_parameters())[name].equal(other[name]) for name in shared)
    assert not init.build(tiny(), seed=4).lm_head.weight.equal(first.lm_head.weight)
