"""Round trips between all namings are identical, and damaged files are named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.cogvlm import sat_parts
from helpers.cogvlm.llama_parts import config_for, eva_file, llama
from helpers.cogvlm.tiny_models import built, tiny
from torch import Tensor

from cogvlm import export
from cogvlm.checkpoints import checkpoint
from cogvlm.checkpoints.tensors import FileReader
from cogvlm.model import init
from cogvlm.model.config import Attn, Expert, ModelConfig, Projector, Rope, resized
from cogvlm.model.decoder import CogVLM
from cogvlm.model.eva import resize_positions

FP32 = torch.float32
POSITIONS = "model.vision.patch_embedding.position_embedding.weight"


def cogvlm2() -> ModelConfig:
    return tiny(
        num_kv_heads=2,
        projector=Projector(kind="conv_glu", mlp_size=160, conv_width=48),
        expert=Expert(qkv_bias=True),
        template="chat",
        rope=Rope(base=500_000.0),
    )


def glm4v() -> ModelConfig:
    return tiny(
        num_kv_heads=2,
        bos_id=None,
        boundary_ids=(90, 91),
        template="glm4",
        rope=Rope(fraction=0.5, interleaved=True),
        attn=Attn(qkv_bias=True),
        projector=Projector(kind="conv_glu", mlp_size=160, conv_width=64, scale=1 / 8),
        expert=Expert(layers="none"),
    )


def captioner() -> ModelConfig:
    return replace(cogvlm2(), expert=Expert(layers="none"))


FAMILIES = {"cogvlm": tiny, "cogvlm2": cogvlm2, "captioner": captioner, "glm4v": glm4v}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(first[n].equal(second[n]) for n in first)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CogVLM:
    return built(FAMILIES[request.param]())


@pytest.mark.parametrize("shard_bytes", [10_000_000, 60_000])
def test_our_folder(model: CogVLM, tmp_path: Path, shard_bytes: int) -> None:
    checkpoint.save(model, tmp_path / "out", shard_bytes=shard_bytes)
    is_sharded = (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert is_sharded == (shard_bytes < 1_000_000)
    again = checkpoint.load(tmp_path / "out", dtype=FP32)
    assert again.config == model.config
    assert same(again.state_dict(), model.state_dict())


def test_official_folder(model: CogVLM, tmp_path: Path) -> None:
    export.write(model, tmp_path / "out", export.config_files(model.config, "hf", "fp32"))
    again = checkpoint.load(tmp_path / "out", dtype=FP32)
    assert again.config == model.config
    assert same(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_checkpoint_keeps_its_type(tmp_path: Path, precision: torch.dtype) -> None:
    checkpoint.save(built(tiny()).to(precision), tmp_path / "out")
    stored = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {precision}
    again = checkpoint.load(tmp_path / "out", dtype=precision)
    assert same(again.state_dict(), stored)


@pytest.mark.parametrize("family", ["llama2", "llama3", "llama3_long"])
def test_language_model_and_tower_to_ours_to_official_and_back(family: str, tmp_path: Path) -> None:
    config = config_for(family)
    source = llama(family, tmp_path / "llm").state_dict()
    eva = eva_file(config.vision, tmp_path / "eva.safetensors")
    model = checkpoint.build_from_parts(
        config, tmp_path / "llm", tmp_path / "eva.safetensors", dtype=FP32
    )
    state = model.state_dict()
    for n in range(config.num_layers):
        here, attention = f"model.layers.{n}.", f"model.layers.{n}.self_attn."
        qkv = torch.cat([source[f"{attention}{part}_proj.weight"] for part in "qkv"])
        for kind in ("language", "vision"):
            assert state[f"{attention}{kind}_expert_query_key_value.weight"].equal(qkv)
            dense = state[f"{attention}{kind}_expert_dense.weight"]
            assert dense.equal(source[f"{attention}o_proj.weight"])
            for part in ("gate_proj", "up_proj", "down_proj"):
                ours = state[f"{here}mlp.{kind}_mlp.{part}.weight"]
                assert ours.equal(source[f"{here}mlp.{part}.weight"])
    block = "model.vision.transformer.layers.1."
    bias = state[f"{block}attention.query_key_value.bias"].chunk(3)
    assert bias[0].equal(eva["visual.trunk.blocks.1.attn.q_bias"])
    assert not bias[1].any()
    assert bias[2].equal(eva["visual.trunk.blocks.1.attn.v_bias"])
    assert state[f"{block}mlp.fc1.weight"].equal(eva["visual.trunk.blocks.1.mlp.fc1.weight"])

    checkpoint.save(model, tmp_path / "ours")
    ours = checkpoint.load(tmp_path / "ours", dtype=FP32)
    assert same(ours.state_dict(), state)
    if family == "llama2":
        files = export.config_files(config, "hf", "fp32")
        export.write(ours, tmp_path / "official", files)
        official = checkpoint.load(tmp_path / "official", dtype=FP32)
        assert same(official.state_dict(), state)


@pytest.mark.parametrize("family", ["cogvlm", "cogvlm2"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_sat_slices_to_ours_to_official(family: str, ranks: int, tmp_path: Path) -> None:
    config = replace(FAMILIES[family](), vocab_size=98, pad_id=0)
    model = built(config)
    sat_parts.write(tmp_path / "sat", model.state_dict(), config, ranks)
    ours = checkpoint.load_sat(tmp_path / "sat", config, dtype=FP32)
    assert same(ours.state_dict(), model.state_dict())
    export.write(ours, tmp_path / "out", export.config_files(config, "hf", "fp32"))
    official = checkpoint.load(tmp_path / "out", dtype=FP32)
    assert same(official.state_dict(), model.state_dict())


def test_sat_with_adapters_is_refused(tmp_path: Path) -> None:
    config = replace(tiny(), vocab_size=98)
    state = built(config).state_dict()
    sat_parts.write(tmp_path, state, config, 1)
    file = tmp_path / "8000" / "mp_rank_00_model_states.pt"
    data = torch.load(file, weights_only=True)
    data["module"]["transformer.layers.0.attention.dense.matrix_A.0"] = torch.zeros(2, 64)
    torch.save(data, file)
    with pytest.raises(ValueError, match=r"matrix_A.0\); merge them in SAT first"):
        checkpoint.load_sat(tmp_path, config)


def test_sat_with_a_missing_rank(tmp_path: Path) -> None:
    config = replace(tiny(), vocab_size=98)
    sat_parts.write(tmp_path, built(config).state_dict(), config, 2)
    (tmp_path / "8000" / "mp_rank_00_model_states.pt").unlink()
    with pytest.raises(ValueError, match=r"holds rank files \[1\]; expected 0, 1, 2"):
        checkpoint.load_sat(tmp_path, config)
    with pytest.raises(ValueError, match="has no file `latest`"):
        checkpoint.load_sat(tmp_path / "8000", config)


def test_another_image_size_resizes_the_positions_and_nothing_else(tmp_path: Path) -> None:
    model = built(tiny())
    checkpoint.save(model, tmp_path / "out")
    config = resized(model.config, 84)
    larger = checkpoint.load(tmp_path / "out", dtype=FP32, config=config).state_dict()
    table = model.state_dict()[POSITIONS]
    assert larger.pop(POSITIONS).equal(resize_positions(table, 6))
    smaller = model.state_dict()
    del smaller[POSITIONS]
    assert same(larger, smaller)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sharded checkpoint to be damaged."""
    checkpoint.save(built(tiny()), tmp_path / "out", shard_bytes=300_000)
    return tmp_path / "out"


def second(folder: Path) -> Path:
    """Return the second shard of several."""
    return sorted(folder.glob("*.safetensors"))[1]


def edit(folder: Path, **changes: Tensor | None) -> None:
    """Change tensors of an unsharded checkpoint; None removes one."""
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors |= {name: tensor for name, tensor in changes.items() if tensor is not None}
    kept = {n: t for n, t in tensors.items() if n not in changes or changes[n] is not None}
    safetensors.torch.save_file(kept, file)


def test_a_missing_shard(folder: Path) -> None:
    second(folder).unlink()
    with pytest.raises(ValueError, match=r"index.json names model-00002-of-\d+.safetensors, whi"):
        checkpoint.load(folder)


@pytest.mark.parametrize("keep", [0, 5, 400, 200_000])
def test_a_cut_off_shard(folder: Path, keep: int) -> None:
    file = second(folder)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model-00002-of-\d+.safetensors is damaged or cut off"):
        checkpoint.load(folder)


def test_a_shard_without_a_promised_tensor(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"]["model.norm.bias"] = second(folder).name
    index.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"00002-of-\d+.safetensors lacks model.norm.bias, wh"):
        checkpoint.load(folder)


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    checkpoint.save(built(tiny()), tmp_path / "out")
    edit(tmp_path / "out", **{"model.norm.weight": None, "model.norm.bias": torch.zeros(64)})
    with pytest.raises(ValueError, match=r"lacks model.norm.weight; has unknown model.norm.bias"):
        checkpoint.load(tmp_path / "out")


def test_a_shape_that_does_not_fit(tmp_path: Path) -> None:
    checkpoint.save(built(tiny()), tmp_path / "out")
    edit(tmp_path / "out", **{"model.norm.weight": torch.zeros(65)})
    with pytest.raises(
        ValueError, match=r"out: model.norm.weight has shape \(65,\), expected \(64,\)"
    ):
        checkpoint.load(tmp_path / "out")


def test_rotary_frequencies_may_be_absent(tmp_path: Path) -> None:
    model = built(tiny())
    checkpoint.save(model, tmp_path / "out")
    names = [name for name in model.state_dict() if name.endswith("inv_freq")]
    edit(tmp_path / "out", **dict.fromkeys(names))
    again = checkpoint.load(tmp_path / "out", dtype=FP32)
    assert same(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("name", ["relative_bias", "blocks.1.ls1.gamma"])
def test_a_tower_with_an_unknown_tensor(name: str, tmp_path: Path) -> None:
    config = config_for("llama2")
    llama("llama2", tmp_path / "llm")
    eva = eva_file(config.vision, tmp_path / "eva.safetensors")
    eva[f"visual.trunk.{name}"] = torch.zeros(3)
    safetensors.torch.save_file(eva, tmp_path / "eva.safetensors")
    with pytest.raises(ValueError, match=rf"has unknown visual.trunk.{name}"):
        checkpoint.build_from_parts(config, tmp_path / "llm", tmp_path / "eva.safetensors")


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has neither model_config.json nor config.json"):
        checkpoint.load(tmp_path)
    (tmp_path / "model_config.json").write_text(json.dumps(tiny().to_json()))
    with pytest.raises(ValueError, match=r"holds neither \*.safetensors nor \*.bin files"):
        checkpoint.load(tmp_path)
    (tmp_path / "model_config.json").write_text('{"vocab')
    with pytest.raises(ValueError, match=r"model_config.json: .*line 1"):
        checkpoint.load(tmp_path)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weight": Trap()}, tmp_path / "trap.bin")
    with pytest.raises(ValueError, match=r"trap.bin is not a readable PyTorch weights file"):
        FileReader(tmp_path / "trap.bin")
    assert not (tmp_path / "sprung").exists()


def test_old_and_other_pytorch_files(tmp_path: Path) -> None:
    state = {"state_dict": {"weight": torch.ones(3)}, "epoch": 7}
    torch.save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    reader = FileReader(tmp_path / "old.bin")
    assert same({name: reader.get(name) for name in reader.names()}, state["state_dict"])
    torch.save([torch.ones(3)], tmp_path / "list.bin")
    with pytest.raises(ValueError, match=r"list.bin holds a list, not named tensors"):
        FileReader(tmp_path / "list.bin")


def test_pytorch_shards_are_read(tmp_path: Path) -> None:
    state = built(tiny()).state_dict()
    names = list(state)
    files = {"a.bin": names[::2], "b.bin": names[1::2]}
    for file, members in files.items():
        torch.save({name: state[name] for name in members}, tmp_path / file)
    index = {"weight_map": {name: file for file, members in files.items() for name in members}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    reader = FileReader(tmp_path)
    assert same({name: reader.get(name) for name in reader.names()}, state)


def test_a_used_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not empty; give another folder"):
        checkpoint.save(built(tiny()), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "write_shards", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(built(tiny()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# What the child's own mapping held at most; ru_maxrss begins with what its parent held. The first
# load is for the libraries that loading imports.
_PEAK = """
import sys, torch
from cogvlm.checkpoints import checkpoint
torch.set_num_threads(1)

def held(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

model = checkpoint.load(sys.argv[1], dtype=torch.bfloat16)
size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
del model
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # forget the peak
before = held("VmRSS")
model = checkpoint.load(sys.argv[1], dtype=torch.bfloat16)
print((held("VmHWM") - before) / size)
"""


def test_loading_holds_the_model_and_little_more(tmp_path: Path) -> None:
    wide = tiny(hidden_size=512, num_heads=32, num_kv_heads=32, mlp_size=6000, num_layers=3)
    config = replace(wide, projector=Projector(kind="linear"))
    model = init.allocate(init.skeleton(config), "cpu", torch.bfloat16)  # any values will do
    checkpoint.save(model, tmp_path / "out", shard_bytes=15_000_000)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = len(list((tmp_path / "out").glob("*.safetensors")))
    assert files >= 8
    # The files are mapped, and a mapped page counts as held while it is: two shards' worth.
    assert float(done.stdout) < 1 + 3 / files
