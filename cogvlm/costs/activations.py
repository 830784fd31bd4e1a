"""What a micro-batch keeps for its backward pass, in bytes, without a GPU and without memory.

Not estimated: one decoder layer, the tower, the projector and the head of the model itself run on
tensors without data, and what autograd keeps is added up. Importing this module is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from cogvlm.model.config import ExpertPart, ModelConfig
from cogvlm.model.groups import group_of

if TYPE_CHECKING:
    from torch import Tensor

    from cogvlm.model.decoder import CogVLM
    from cogvlm.model.layout import Batch

CHECKPOINTS = ("none", "tower", "decoder", "both")
_TOWER = {"vit", "patch_and_pos"}


@dataclass(frozen=True)
class Activations:
    """Bytes that a rank keeps from the forward to the backward pass."""

    decoder: int
    tower: int
    projector: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


@cache
def activations(
    config: ModelConfig,
    trained: frozenset[str],
    *,
    micro_batch: int,
    text_tokens: int,
    checkpoint: str = "none",
) -> Activations:
    """Measure what a micro-batch keeps in bf16, without allocating it.

    A checkpointed layer keeps its inputs; one layer at a time is there in full while it is
    computed again.

    Args:
        config: The model.
        trained: The parameter groups that are trained, some under the decoder among them.
        micro_batch: Samples, with one image each.
        text_tokens: Other tokens of a sample.
        checkpoint: Whose layers are checkpointed, one of CHECKPOINTS.

    Raises:
        ValueError: A sample is longer than the model's context.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    probe = _Probe(config, trained, _batch(config, micro_batch, text_tokens))
    with FakeTensorMode(allow_non_fake_inputs=True):
        return Activations(
            decoder=_decoder(probe, checkpoint in ("decoder", "both")),
            tower=_tower(probe, checkpoint in ("tower", "both")) if trained & _TOWER else 0,
            projector=probe.projector(),
            head=probe.head(),
        )


def _decoder(probe: _Probe, checkpointed: bool) -> int:
    config, measured = probe.config, cache(probe.layer)
    last = config.num_layers - 1
    sizes = [measured(config.expert.parts_of(n), n == last) for n in range(last + 1)]
    if checkpointed:
        inputs = 2 * probe.batch.ids_BL.numel() * config.hidden_size
        return inputs * len(sizes) + max(sizes)
    return sum(sizes)


def _tower(probe: _Probe, checkpointed: bool) -> int:
    vision, images = probe.config.vision, len(probe.batch.slots_IS)
    blocks = vision.num_layers + 1 + vision.feature_layer
    one, two = probe.tower(1), probe.tower(2)
    inputs = 2 * images * (vision.grid_size**2 + 1) * vision.width
    return one + (blocks * inputs if checkpointed else (blocks - 1) * (two - one))


def _batch(config: ModelConfig, micro_batch: int, text_tokens: int) -> Batch:
    import torch

    from cogvlm.model.layout import IGNORE, Sample, collate

    span, size = config.span_size, config.vision.image_size
    image_CHW = torch.empty(3, size, size, device="meta")
    ids = [config.pad_id] * (span + text_tokens)
    sample = Sample(ids, [IGNORE] * len(ids), spans=[(0, span)], images=[image_CHW])
    return collate([[sample]] * micro_batch, config)


class _Probe:
    """Runs the model's parts inside a FakeTensorMode; each returns the bytes it keeps."""

    def __init__(self, config: ModelConfig, trained: frozenset[str], batch: Batch) -> None:
        self.config, self.trained, self.batch = config, trained, batch
        self._model = cache(self._build)  # to build one takes as long as to run it

    def layer(self, parts: tuple[ExpertPart, ...], is_last: bool) -> int:
        model = self._model(parts)
        context = model.model.context(self.batch)
        shared = [each for each in (context.cos, context.sin, context.mask) if each is not None]
        keep = not is_last or not self.config.skip_unused or bool(self.config.loss.image_ssl)
        layer, streams = model.model.layers[0], self._streams(model)
        return _kept(lambda: layer(*streams, context, None, keep), model, shared)

    def tower(self, blocks: int) -> int:
        model, images_ICHW = self._model(blocks=blocks), self.batch.images_ICHW
        assert images_ICHW is not None  # `collate` makes one always
        images_ICHW = images_ICHW.new_empty(images_ICHW.shape, device="cpu")
        return _kept(lambda: model.model.vision.features(images_ICHW), model)

    def projector(self) -> int:
        model = self._model()
        features_IPE = self._features(model)
        return _kept(lambda: model.model.vision.project(features_IPE), model)

    def head(self) -> int:
        model = self._model()
        features_IPE, (text_TD, vision_VD) = self._features(model), self._streams(model)
        decoder = model.model

        def only_norms(_: Batch, keep_vision: bool) -> tuple[Tensor, Tensor, Tensor]:
            kept_VD = vision_VD if keep_vision else vision_VD[:0]
            return decoder.norm(text_TD), decoder.norm(kept_VD), features_IPE

        decoder.forward = only_norms  # type: ignore[method-assign,assignment]
        return _kept(lambda: model.loss(self.batch), model)

    def _streams(self, model: CogVLM) -> list[Tensor]:
        rows = self.batch.route.language_T, self.batch.route.vision_V
        return [_new(model, (len(each), self.config.hidden_size)) for each in rows]

    def _features(self, model: CogVLM) -> Tensor:
        vision = self.config.vision
        size = len(self.batch.slots_IS), vision.grid_size**2, vision.width
        return _new(model, size, bool(self.trained & _TOWER))

    def _build(self, parts: tuple[ExpertPart, ...] = (), blocks: int = 1) -> CogVLM:
        """Return the model with one layer, in bf16."""
        import torch
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        from cogvlm.model.init import skeleton

        shallow = replace(
            self.config,
            num_layers=1,
            dropout=0.0,  # with it a CPU, unlike a GPU, has no fused attention
            expert=replace(self.config.expert, layers="all" if parts else "none"),
            vision=replace(self.config.vision, num_layers=blocks, feature_layer=-1),
        )
        with unset_fake_temporarily():  # fake parameters cannot be cast
            model = skeleton(shallow).to(torch.bfloat16)
        model = model.to_empty(device="cpu")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(group_of(name) in self.trained)
        return model


def _new(model: CogVLM, size: tuple[int, ...], needs_gradient: bool = True) -> Tensor:
    return model.model.norm.weight.new_empty(size).requires_grad_(needs_gradient)


def _kept(call: Callable[[], object], model: CogVLM, shared: Iterable[Tensor] = ()) -> int:
    """Return the bytes of the distinct storages that autograd saves, but for weights and shared."""
    import torch

    outside = {each.untyped_storage()._cdata for each in (*model.parameters(), *shared)}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(saved[key].untyped_storage().nbytes() for key in saved.keys() - outside)
