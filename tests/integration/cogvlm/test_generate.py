"""Generation: batches agree with single prompts, sampling draws as asked, the command talks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny
from PIL import Image

from cogvlm import generate as command
from cogvlm.checkpoints import checkpoint
from cogvlm.model.config import Attn, Expert, Position
from cogvlm.model.decoder import CogVLM
from cogvlm.model.generation import Sampling, choose, generate
from cogvlm.model.layout import Sample, collate

CONFIGS = {
    "cogvlm": tiny(),
    "grouped": tiny(num_kv_heads=2),
    "2d": tiny(position=Position(image="2d")),
    "full_mask": tiny(attn=Attn(image_mask="full")),
    "no_expert": tiny(expert=Expert(layers="none")),
}
PROMPTS = [[3], [1, IMAGE, 4], [2, IMAGE, IMAGE, 1], [1, IMAGE]]


def tokens(model: CogVLM, samples: list[Sample], sampling: Sampling) -> list[list[int]]:
    batch = collate([[one] for one in samples], model.config, side="left")
    return torch.stack(list(generate(model, batch, sampling)), dim=1).tolist()


def slowly(model: CogVLM, prompt: Sample, count: int) -> list[int]:
    """Greedy tokens by whole forward passes, without a cache."""
    for _ in range(count):
        token = model(collate([[prompt]], model.config))[0, -1].argmax().item()
        prompt = replace(prompt, ids=[*prompt.ids, token], labels=[*prompt.labels, -100])
    return prompt.ids[-count:]


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_gives_what_each_prompt_gives_alone(name: str) -> None:
    config = replace(CONFIGS[name], eos_id=96)
    model = built(config).eval()
    samples = [sample(config, pieces, seed) for seed, pieces in enumerate(PROMPTS)]
    together = tokens(model, samples, Sampling(max_new_tokens=6))
    for one, row in zip(samples, together, strict=True):
        expected = slowly(model, one, 6)
        stop = expected.index(96) + 1 if 96 in expected else 6
        assert row[:stop] == expected[:stop]
        assert set(row[stop:]) <= {config.pad_id}


def test_a_row_that_ended_is_padded_and_all_ended_stops() -> None:
    model = built(tiny()).eval()
    samples = [sample(tiny(), [3], seed) for seed in range(2)]
    first = tokens(model, samples, Sampling(max_new_tokens=8))
    ends = {first[0][2]} - {first[1][place] for place in range(8)}
    assert ends, "choose another seed: the rows share their tokens"
    object.__setattr__(model, "config", replace(tiny(), stop_ids=tuple(ends)))
    again = tokens(model, samples, Sampling(max_new_tokens=8))
    stop = first[0].index(next(iter(ends)))
    assert again[0] == first[0][: stop + 1] + [model.config.pad_id] * (7 - stop)
    assert again[1] == first[1]
    object.__setattr__(model, "config", replace(tiny(), stop_ids=tuple(range(97))))
    assert [len(row) for row in tokens(model, samples, Sampling(max_new_tokens=8))] == [1, 1]


def test_the_context_ends_generation() -> None:
    config = replace(tiny(), max_positions=10, eos_id=96)
    model = built(config).eval()
    assert len(tokens(model, [sample(config, [7])], Sampling(max_new_tokens=50))[0]) <= 3
    with pytest.raises(ValueError, match=r"has 10 tokens; the model's context of 10 leaves"):
        tokens(model, [sample(config, [10])], Sampling())


def test_temperature_and_top_p_draw_from_the_right_tokens() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(4000, -1)
    random = torch.Generator().manual_seed(0)

    def shares(**how: float) -> list[float]:
        drawn = choose(logits, Sampling(**how), random)
        return (torch.bincount(drawn, minlength=4) / len(drawn)).tolist()

    assert shares() == [1.0, 0.0, 0.0, 0.0]
    assert shares(temperature=1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(temperature=1.0, top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(temperature=1.0, top_p=0.1) == [1.0, 0.0, 0.0, 0.0]
    cold = torch.tensor([0.5, 0.3, 0.15, 0.05]).pow(2)
    expected = (cold / cold.sum()).tolist()
    assert shares(temperature=0.5) == pytest.approx(expected, abs=0.03)


def test_a_seed_repeats_the_draws() -> None:
    model = built(tiny()).eval()
    draw = lambda seed: tokens(  # noqa: E731
        model, [sample(tiny(), [3])], Sampling(max_new_tokens=9, temperature=2.0, seed=seed)
    )
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize(
    ("how", "told"),
    [({"max_new_tokens": 0}, "max_new_tokens is 0"), ({"temperature": -1.0}, "temperature is -1"),
     ({"top_p": 0.0}, "top_p is 0.0"), ({"top_p": 1.5}, "top_p is 1.5")],
)  # fmt: skip
def test_sampling_keeps_its_rules(how: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Sampling(**how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a tokenizer of letters, and a picture beside it."""
    folder = tmp_path_factory.mktemp("generate")
    checkpoint.save(built(tiny(eos_id=96)), folder / "model")
    letters = ["<unk>", "<s>", "</s>", *map(chr, range(32, 126))]
    model = tokenizers.models.WordLevel({c: n for n, c in enumerate(letters)}, unk_token="<unk>")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    made.decoder = tokenizers.decoders.Fuse()
    made.save(str(folder / "model" / "tokenizer.json"))
    Image.effect_noise((80, 60), 90).convert("RGB").save(folder / "noise.jpg")
    return folder


def run(folder: Path, *arguments: str, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    code = command.main(["--checkpoint", str(folder / "model"), *arguments])
    return code, *capsys.readouterr()


def test_the_command_answers(folder: Path, capsys: pytest.CaptureFixture) -> None:
    image = ["--image", str(folder / "noise.jpg"), "--max_new_tokens", "5"]
    code, one, _ = run(folder, *image, "--prompt", "what?", capsys=capsys)
    assert (code, len(one.splitlines())) == (0, 1)
    code, two, _ = run(
        folder, *image, "--prompt", "what?", "--prompt", "and the other one?", capsys=capsys
    )
    assert (code, len(two.splitlines())) == (0, 2)
    assert two.splitlines()[0] == one.strip()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--image", "missing.jpg"], "--image missing.jpg: No such file or directory"),
        (["--image", __file__], "cannot be decoded: not_an_image"),
        (["--prompt", "x" * 200], "has 201 tokens (0 images of 18), but the model's context is"),
        (["--prompt", "a", "--prompt", "b", "--prompt", "c", "--image", "1", "--image", "2"],
         "2 --image for 3 --prompt"),
        (["--prompt", "<image>"], "has 1 <image> marks for 0 images"),
        (["--template", "poem"], "unknown template 'poem'"),
        (["--top_p", "2"], "top_p is 2.0"),
        (["--device", "cuda:77"], "--device cuda:77 cannot be used here"),
        (["--tokenizer", "nowhere"], "nowhere does not exist"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    folder: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture
) -> None:
    code, _, error = run(folder, *arguments, capsys=capsys)
    assert code == 2
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1


def test_build_and_export_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from cogvlm import build, export

    start = ["--checkpoint", str(folder / "model")]
    larger = ["--image_size", "84", "--output", str(tmp_path / "larger"), "--dtype", "fp32"]
    assert build.main([*start, *larger]) == 0
    assert checkpoint.read_config(tmp_path / "larger").vision.image_size == 84
    official = ["--output", str(tmp_path / "official"), "--for", "llama.cpp"]
    assert export.main([*start, *official]) == 0
    names = {path.name for path in (tmp_path / "official").iterdir()}
    assert names == {
        "config.json", "generation_config.json", "preprocessor_config.json", "model.safetensors",
        "tokenizer.json",
    }  # fmt: skip
    assert export.main([*start, *official]) == 2
    assert build.main(["--output", str(tmp_path / "x")]) == 2
    assert build.main(["--llm", "x", "--output", str(tmp_path / "x")]) == 2
    assert build.main(["--preset", "cogvlm", "--sat", "x", "--output", str(tmp_path / "x")]) == 2
    told = capsys.readouterr().err
    assert "exists and is not empty" in told
    assert "give one of --llm (with --tower), --sat and --checkpoint" in told
    assert "--llm needs --preset: which model to build" in told
    assert "unknown model preset 'cogvlm'" in told
