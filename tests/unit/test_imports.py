"""Importing is free: no model library, no Beam, no network library, no thread."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "apache_beam", "spacy", "transformers", "gcsfs", "s3fs", "rich", "img2dataset")

PACKAGES = ("shards", "filters", "grounding", "cogvlm", "pipelines")
MODEL_COMMANDS = (
    "cogvlm.generate",
    "cogvlm.evaluate",
    "cogvlm.export",
    "cogvlm.build",
    "cogvlm.plan",
    "cogvlm.convert_tokenizer",
    "cogvlm.train",
    "cogvlm.trace",
    "grounding.evaluate",
    "grounding.verify",
)
COMMANDS = (
    "pipelines.filter",
    "pipelines.download",
    "pipelines.ground",
    "pipelines.lint",
    "pipelines.report",
)

_PROBE = """
import importlib, json, sys, threading
importlib.import_module(sys.argv[1])
heavy = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
print(json.dumps([heavy, threading.active_count()]))
"""


@pytest.mark.parametrize(
    "module",
    [
        *(*PACKAGES, *COMMANDS, *MODEL_COMMANDS),
        *("pipelines.fetch", "pipelines.report_page", "shards.image", "cogvlm.model.presets"),
    ],
)
def test_importing_is_free(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module, json.dumps(HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[], 1]


@pytest.mark.parametrize("module", [*COMMANDS, *MODEL_COMMANDS])
def test_help_imports_neither_beam_nor_torch(module: str) -> None:
    code = (
        f"import sys, importlib; m = importlib.import_module({module!r})\n"
        "try: m.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'apache_beam', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m" in done.stdout
