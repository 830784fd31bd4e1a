"""Detectors are what the files of one folder declare, and a user's own code by its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grounding.detectors import load, module
from grounding.detectors.blobs import BlobDetector
from grounding.detectors.forms import Settings, detector_forms, listed, listed_options
from grounding.detectors.load import check_recorded, load_detector
from grounding.evaluate import main
from pipelines.ground_job.options import LABEL_OPTIONS

OWN_CODE = """
from grounding.detectors.blobs import BlobDetector

class Mine(BlobDetector):
    def __init__(self, **named):
        self.named = named

class Half:
    name = "half"
    languages = None

class Unnamed(BlobDetector):
    name = None

half = lambda **named: Half()
unnamed = lambda **named: Unnamed()
number = 3

def make_detector(*, device, precision, batch, options):
    return Mine(device=device, precision=precision, batch=batch, options=options)

def broken(**named):
    return 1 + "1"
"""


@pytest.fixture(autouse=True)
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a package of the user's own on the path."""
    monkeypatch.setattr(load, "_loaded", {})
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "code.py").write_text(OWN_CODE)
    (package / "lacks.py").write_text("import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def test_each_file_with_a_declaration_is_a_form() -> None:
    forms = [form.form for form in detector_forms().values()]
    ours = ("blobs", "glip:CHECKPOINT", "hf:MODEL", "module:PACKAGE.FILE:FACTORY", "oracle:FILE")
    assert {*ours} <= {*forms}
    assert listed() == ", ".join(forms)
    assert "glip: variant, vocab, short_side, long_side" in listed_options()
    assert all(form.about for form in detector_forms().values())


def test_help_lists_what_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    (option,) = [each for each in LABEL_OPTIONS if each.name == "detector"]
    assert listed() in option.help
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert listed() in shown


def test_own_code_gets_the_common_arguments() -> None:
    made = load_detector(
        "module:own_package.code:make_detector", device="cpu", precision="bf16", batch=2, size="3"
    )
    assert made.named == {
        "device": "cpu",
        "precision": "bf16",
        "batch": 2,
        "options": {"size": "3"},
    }


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("own_package.code", "write module:PACKAGE.FILE:FACTORY, such as module:my.detectors:make"),
        ("own_package.code:", "write module:PACKAGE.FILE:FACTORY"),
        (".code:make", "write module:PACKAGE.FILE:FACTORY"),
        ("own_package.cod:make", "there is no module own_package.cod on the Python path"),
        ("nobodys.code:make", "there is no module nobodys on the Python path"),
        ("own_package.code:make_detectors", "has no make_detectors; did you mean make_detector?"),
        ("own_package.code:xyz", "own_package.code has no xyz; name the function"),
        ("own_package.code:number", "number is not a function, but 3"),
        ("own_package.code:half", "made a Half without fingerprint, upsamples, detect;"),
        ("own_package.code:unnamed", "its name must be text"),
    ],
)
def test_what_is_wrong_with_own_code_is_told_with_its_place(place: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        load_detector(f"module:{place}")
    assert says in str(caught.value) and f"module:{place}" in str(caught.value)


def test_a_fault_inside_own_code_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        load_detector("module:own_package.code:broken")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        load_detector("module:own_package.lacks:make")


def test_a_file_may_name_code_only_where_the_user_allows_it() -> None:
    own = "module:own_package.code:make_detector"
    with pytest.raises(ValueError, match=r"run.json names the detector module:.*--allow_code"):
        check_recorded(own, "out/run.json", allow_code=False)
    check_recorded(own, "out/run.json", allow_code=True)
    for name in ("blobs", "glip:a.pth", "hf:a/b", "oracle:module:x", ""):
        check_recorded(name, "out/run.json", allow_code=False)


def test_members_are_those_of_the_protocol() -> None:
    assert set(module.MEMBERS) == {"name", "fingerprint", "languages", "upsamples", "detect"}
    assert module.load("own_package.code:make_detector", Settings()).name == BlobDetector.name
