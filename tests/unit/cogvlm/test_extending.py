"""The pages of docs/extending: what each shows, dropped into the package, is there and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.extending import example
from helpers.paths import ROOT

TASK = """
import sys
from cogvlm import train
from cogvlm.data.tasks import TASKS, Example, make
assert TASKS["count_words"].help == "Counts the words."
assert not {"torch", "pyarrow", "apache_beam"} & {*sys.modules}
*_, answer = make("count_words", Example("key", "a red fox", ["image"], {}, "base", 0, 0))
assert (answer.text, answer.target) == ("3", True)
from scripts.make_docs import training_settings_page
assert "| `count_words` | Counts the words. |" in training_settings_page()
train.main(["--help"])
"""

TOWER = """
import sys
from cogvlm.model.registry import TOWERS
assert TOWERS["conv"].help == "Convolution."
assert not {"torch", "pyarrow", "apache_beam"} & {*sys.modules}
import torch
from cogvlm.costs import flops
from cogvlm.model import init
from cogvlm.model.layout import IGNORE, Sample, collate
from cogvlm.model.presets import overridden, preset
config = overridden(preset("debug"), ["vision.tower=conv"])
span = (1, 1 + config.span_size)
ids = [config.bos_id, *[config.pad_id] * config.span_size, 5]
sample = Sample(ids, [IGNORE] * (len(ids) - 1) + [5], [span], [torch.randn(3, 56, 56)])
total, count = init.build(config).loss(collate([[sample]], config))
assert total.isfinite() and count == 1
assert flops.count(config, images=1, text_tokens=1).tower > 0
"""

TEMPLATE = """
import sys
from cogvlm.data.segments import Turn, dialogue
from cogvlm.model.presets import overridden, preset
assert overridden(preset("debug"), ["template=plain"]).template == "plain"
assert not {"torch", "pyarrow", "apache_beam"} & {*sys.modules}
text = "".join(part.text for part in dialogue([Turn("a", "b"), Turn("c")], [], "plain"))
assert text == "User: a\\nAssistant: b\\nUser: c\\nAssistant:", text
from cogvlm import generate
generate.main(["--help"])
"""

VARIANT = """
import sys
from cogvlm.model.presets import PRESETS, preset
assert PRESETS["debug_deep"].help == "The debug model with four layers."
assert not {"torch", "pyarrow", "apache_beam"} & {*sys.modules}
from cogvlm.model.init import build
assert len(build(preset("debug_deep")).model.layers) == 4
from scripts.make_docs import model_settings_page
assert "`debug_deep`" in model_settings_page()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "folder", "code", "printed"),
    [
        ("task", "data/tasks", TASK, "count_words"),
        ("tower", "model/towers", TOWER, ""),
        ("template", "model/templates", TEMPLATE, "plain, base"),
        ("variant", "model/variants", VARIANT, ""),
    ],
)
def test_the_example_of_a_page_is_all_that_it_takes(
    page: str, folder: str, code: str, printed: str, tmp_path: Path
) -> None:
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cogvlm", tmp_path / "cogvlm", ignore=no_cache)
    added = tmp_path / "cogvlm" / folder / "added.py"
    added.write_text(example(page), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
