"""Importing is free: nothing heavy is loaded and no thread is started. One interpreter per rule."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIBRARIES = (
    *("torch", "torchvision", "transformers", "open_clip", "spacy", "apache_beam"),
    *("gcsfs", "s3fs", "img2dataset", "rich", "wandb", "tensorboard"),
)
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
    "pipelines.pack",
    "pipelines.lint",
    "pipelines.report",
    *MODEL_COMMANDS,
)

RULES = {
    "nothing that models, stores, jobs or screens need": (
        LIBRARIES,
        (
            *("shards", "filters", "grounding", "cogvlm", "pipelines", *COMMANDS),
            *("shards.image", "pipelines.fetch", "pipelines.report_page"),
            *("cogvlm.model.presets", "cogvlm.training.presets", "cogvlm.training.watch"),
            *("grounding.phrases.extractor", "grounding.detectors.load"),
            *("grounding.detectors.agreement", "grounding.detectors.rescore"),
            *("grounding.glip.options", "grounding.glip.config", "grounding.glip.spans"),
        ),
    ),
    "fetching needs the core only": (
        ("apache_beam", "torch", "PIL", "requests", "aiohttp"),
        ("pipelines.fetch",),
    ),
    "declarations are listed without readers and models": (
        ("pyarrow", "pandas", "torch", "transformers", "tokenizers", "apache_beam"),
        (
            "filters; assert filters.describe()",
            "filters; filters.build_chain('cogvlm', {'caption.words.minimum': '2'}).spec()",
            "pipelines.metadata.sources as sources; assert sources.SOURCES",
            "grounding.detectors.forms as forms; assert forms.detector_forms()",
            "cogvlm.model.registry as registry; assert registry.TOWERS and registry.TEMPLATES",
            "cogvlm.model.presets as presets; assert presets.PRESETS",
            "cogvlm.data.tasks as tasks; assert tasks.TASKS",
        ),
    ),
    "formats are listed without pictures": (
        ("pyarrow", "torch", "apache_beam", "PIL", "grounding"),
        ("pipelines.pack_job.formats as formats; assert formats.FORMATS",),
    ),
}
"""What must not be loaded, and the imports that must not load it, some with what is done then."""

_LOADED = """
import json, sys, threading
forbidden, imports = json.loads(sys.argv[1])
loaded = {}
for imported in imports:
    exec(f"import {imported}", {})
    if heavy := [name for name in forbidden if name in sys.modules]:
        loaded[imported] = heavy
print(json.dumps([loaded, threading.active_count()]))
"""

_HELP = """
import contextlib, importlib, io, json, sys
answers = {}
for module, argv in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            code = importlib.import_module(module).main(argv)
        except SystemExit as stop:
            code = stop.code
    heavy = [name for name in ("apache_beam", "torch") if name in sys.modules]
    answers[" ".join([module, *argv])] = [code, out.getvalue(), heavy]
print(json.dumps(answers))
"""


@pytest.mark.parametrize("rule", RULES)
def test_importing_is_free(rule: str) -> None:
    # One interpreter for all: the first module that is named loaded it, those after it need not.
    assert _run(_LOADED, RULES[rule]) == [{}, 1]


def test_help_and_mistakes_load_neither_beam_nor_torch() -> None:
    helps = [[module, ["--help"]] for module in COMMANDS]
    mistake = ["cogvlm.plan", ["--preset", "nope", "--gpus", "1"]]
    answers = _run(_HELP, [*helps, mistake])
    for module in COMMANDS:
        code, text, heavy = answers[f"{module} --help"]
        assert (code, heavy) == (0, []), module
        assert text.startswith(f"usage: python -m {module}")
    code, text, heavy = answers["cogvlm.plan --preset nope --gpus 1"]
    assert (code, heavy) == (2, []) and "Traceback" not in text


def _run(program: str, argument: object) -> object:
    command = [sys.executable, "-c", program, json.dumps(argument)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
