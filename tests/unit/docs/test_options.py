"""`docs/options.md` holds every option of every command, as `--help` shows them."""

from __future__ import annotations

import importlib
import re

import pytest
from helpers.paths import ROOT

from scripts.commands import COMMANDS
from scripts.make_docs import anchor

PAGE = ROOT / "docs" / "options.md"
INTERNAL = {"pipelines.harness.local_worker", "shards.image.children"}  # started by our own code


def test_the_page_knows_every_command() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    runnable = [file for file in files if '__name__ == "__main__"' in file.read_text("utf-8")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in runnable}
    assert names - INTERNAL == set(COMMANDS)


PACKAGES = ("shards", "filters", "grounding", "pipelines", "cogvlm")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_on_the_page(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        importlib.import_module(command).main(["--help"])
    # An option stands at the start of its line; others are only mentioned.
    shown = re.findall(r"^[\s│]+(?:-h, )?(--[\w.]+)", capsys.readouterr().out, re.MULTILINE)
    described = _described(command)
    assert set(shown) - {"--help"} <= described, command
    assert len(shown) > 1 or command in ("pipelines.lint", "cogvlm.convert_tokenizer")


def _described(command: str) -> set[str]:
    """Return the options in a command's section and in those that it links to."""
    parts = re.split(r"^## (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    own = sections[f"`python -m {command}`"]
    linked = re.findall(r"\(#([\w-]+)\)", own)
    texts = [own, *(text for title, text in sections.items() if anchor(title) in linked)]
    return {name for text in texts for name in re.findall(r"`(--[\w.]+)`", text)}
