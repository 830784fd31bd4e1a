"""The plan: published memory, activations against a real run, and the command line."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from cogvlm import plan
from cogvlm.costs.activations import CHECKPOINTS, Activations, activations
from cogvlm.model import init
from cogvlm.model.config import Attn, Expert, Loss, ModelConfig, Projector
from cogvlm.model.groups import GROUPS, STAGES, counts, group_of
from cogvlm.model.layout import IGNORE, Sample, collate
from cogvlm.model.towers import Vision
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from cogvlm.model.variants.small import debug

TOY = replace(debug(), vocab_size=512)
CLIP = Vision(
    tower="clip_l_336", image_size=56, width=48, num_layers=4, num_heads=4, mlp_size=112,
    feature_layer=-2,
)  # fmt: skip


def planned(config: ModelConfig, stage: str, **changes: object) -> Activations:
    told = {"micro_batch": 3, "text_tokens": 21, **changes}
    return activations(config, STAGES[stage], **told)


def kept_in_a_real_run(config: ModelConfig, stage: str) -> int:
    """Bytes of all that autograd saves for a whole loss in bf16, weights left out."""
    model = init.build(config, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(group_of(name) in STAGES[stage])
    span, size = config.span_size, config.vision.image_size
    sample = Sample(
        ids=[config.pad_id] * span + [5] * 21,
        labels=[IGNORE] * span + [5] * 21,
        spans=[(0, span)],
        images=[torch.zeros(3, size, size)],
    )
    batch = collate([[sample]] * 3, config)
    weights = {each.data_ptr() for each in model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(batch)
    return sum(saved[at].untyped_storage().nbytes() for at in saved.keys() - weights)


@pytest.mark.parametrize("stage", STAGES)
def test_activations_equal_a_real_run(stage: str) -> None:
    assert planned(TOY, stage).total == pytest.approx(kept_in_a_real_run(TOY, stage), rel=0.03)


@pytest.mark.parametrize(
    "config",
    [
        debug(),
        replace(TOY, skip_unused=False),
        replace(TOY, expert=Expert(layers=2), num_layers=4),
        replace(TOY, expert=Expert(layers="none"), num_kv_heads=2),
        replace(TOY, expert=Expert(kind="lora", rank=8)),
        replace(TOY, attn=Attn(image_mask="full")),
        replace(TOY, loss=Loss(image_ssl=1.0)),
        replace(TOY, projector=Projector(kind="conv_glu", mlp_size=80, conv_width=40)),
        replace(TOY, vision=CLIP, projector=Projector(kind="downsample_3x3")),
    ],
    ids=range(9),
)
def test_activations_equal_a_real_run_of_other_models(config: ModelConfig) -> None:
    assert planned(config, "sft").total == pytest.approx(
        kept_in_a_real_run(config, "sft"), rel=0.03
    )


def test_a_frozen_tower_keeps_nothing() -> None:
    frozen, trained = planned(TOY, "stage1"), planned(TOY, "sft")
    assert frozen.tower == 0 < trained.tower
    assert frozen.decoder < trained.decoder, "frozen language weights need no inputs"


def test_more_samples_text_or_pixels_keep_more() -> None:
    base = planned(TOY, "sft")
    double = planned(TOY, "sft", micro_batch=6)
    assert double.total == pytest.approx(2 * base.total, rel=0.01)
    assert planned(TOY, "sft", text_tokens=42).decoder > base.decoder
    assert planned(TOY, "sft", text_tokens=42).head > base.head
    larger = planned(replace(TOY, vision=replace(TOY.vision, image_size=70)), "sft")
    assert larger.tower > base.tower and larger.projector > base.projector
    assert larger.decoder > base.decoder and larger.head == base.head


def test_checkpointed_layers_keep_their_inputs_and_one_layer() -> None:
    config = replace(TOY, num_layers=8, skip_unused=False)
    plain = planned(config, "sft")
    tokens = 3 * (config.span_size + 21)
    found = {way: planned(config, "sft", checkpoint=way) for way in CHECKPOINTS}
    assert found["none"] == plain
    assert found["decoder"].decoder == plain.decoder // 8 + 8 * tokens * config.hidden_size * 2
    assert found["decoder"].tower == plain.tower > found["tower"].tower == found["both"].tower
    assert found["tower"].decoder == plain.decoder > found["both"].decoder
    assert found["both"].total < min(found["tower"].total, found["decoder"].total)


def test_published_memory_of_stage_1() -> None:
    found = plan.state_bytes(counts(cogvlm_17b_490()), STAGES["stage1"])
    assert list(found.values()) == [35_279_370_752, 13_237_256_192, 79_423_537_152, 26_474_512_384]
    assert [round(each / 1e9, 1) for each in found.values()] == [35.3, 13.2, 79.4, 26.5]


def table(printed: str) -> dict[str, tuple[float, float]]:
    """The rows of the printed memory table: GB in all, and per rank."""
    rows = re.findall(r"(?m)^  (\w.*?) +([\d,.]+) +([\d,.]+)$", printed)
    return {what: (float(a.replace(",", "")), float(b.replace(",", ""))) for what, a, b in rows}


def run(capsys: pytest.CaptureFixture[str], arguments: str) -> tuple[int, str, str]:
    code = plan.main(arguments.split())
    return code, *capsys.readouterr()


STAGE_1 = "--preset cogvlm_17b_490 --stage stage1"


def test_the_printed_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, f"{STAGE_1} --gpus 8")
    rows = table(printed)
    assert code == 0
    assert rows["weights (bf16)"] == (35.28, 4.41) and rows["gradients (bf16)"] == (13.24, 1.65)
    assert rows["optimiser (fp32)"] == (79.42, 9.93) and rows["EMA (fp32)"] == (26.47, 3.31)
    kept = activations(cogvlm_17b_490(), STAGES["stage1"], micro_batch=1, text_tokens=64)
    assert rows["activations"][1] == round(kept.total / 1e9, 2)
    *parts, total = (per_rank for _, per_rank in rows.values())
    assert total == pytest.approx(sum(parts), abs=0.03)
    assert "stage1 trains 6,618,628,096 of 17,639,685,376 parameters" in printed
    assert f"fits h100 (80 GB): {80 - total:.2f} GB left" in printed
    assert re.search(r"(?m)^  expert +6,476,005,376$", printed)


def test_the_advice_fits_and_one_gpu_less_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = run(capsys, f"{STAGE_1} --gpus 1")
    gpus = int(re.search(r"does not fit h100 .* try --gpus (\d+)", printed)[1])
    assert "fits h100" in run(capsys, f"{STAGE_1} --gpus {gpus}")[1]
    assert "does not fit h100" in run(capsys, f"{STAGE_1} --gpus {gpus - 1}")[1]
    _, printed, _ = run(capsys, f"{STAGE_1} --gpus 1 --gpu 4090 --micro_batch 4")
    assert "does not fit 4090 (24 GB), whatever --gpus" in printed


def test_speed_is_the_peak_times_mfu_over_the_flops(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = run(capsys, "--preset cogvlm_17b_224 --gpus 8 --gpu h200 --stage stage1")
    found = re.search(r"([\d.]+) TFLOP per sample, ([\d.]+) samples/s .*: ([\d.]+) days", printed)
    work, rate, days = map(float, found.groups())
    assert rate == pytest.approx(8 * 989 * 0.4 / work, rel=1e-3)
    assert days == pytest.approx(120_000 * 8192 / rate / 86_400, rel=1e-3)
    _, printed, _ = run(capsys, "--preset debug --gpus 1 --stage projector")
    assert "samples/s" in printed and "days" not in printed, "VILA's steps are not published"


def test_the_papers_compute_is_a_plausible_utilisation(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = run(capsys, "--preset cogvlm_17b_224 --gpus 512 --gpu a100")
    share = float(re.search(r"4,096 A100 days .* are ([\d.]+)% of 312 TFLOP/s", printed)[1])
    assert share == pytest.approx(14.6, abs=0.5)
    assert [line.split()[0] for line in printed.splitlines() if " trains " in line] == list(STAGES)
    assert "A100 days" not in run(capsys, STAGE_1 + " --gpus 1")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--preset nope --gpus 1", "error: unknown model preset 'nope'; known: cogvlm_17b_224, "),
        ("--preset debug --gpus 1 --stage x", "error: unknown stage 'x'; known: stage1, stage2, "),
        ("--preset debug --gpus 0", "error: --gpus is 0; give 1 or more"),
        ("--preset debug --gpus 1 --mfu 40", "error: --mfu is 40.0; give a share above 0, at most"),
        (
            "--preset debug --gpus 1 --text_tokens 600",
            "error: a sample has 618 tokens; the model's context is 512",
        ),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    code, printed, error = run(capsys, arguments)
    assert code == 2 and printed == ""
    assert error.startswith(message) and error.count("\n") == 1


def test_every_group_is_planned() -> None:
    everything = plan.state_bytes(counts(cogvlm_17b_224()), GROUPS)
    assert sum(everything.values()) == 20 * 17_637_948_928
