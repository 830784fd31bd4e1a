"""The list a worker installs: complete, pinned with hashes, and nothing that only launches."""

from __future__ import annotations

import re

import pytest
from packaging.utils import canonicalize_name

from scripts import worker_requirements
from scripts.worker_requirements import LOCK, closure, core_requirements, locked

SMALL_LOCK = """\
# made by a tool
one==1.0 \\
    --hash=sha256:aa
Two_Words==2.0 ; python_full_version < '3.13' \\
    --hash=sha256:bb
two-words==2.1 ; python_full_version >= '3.13' \\
    --hash=sha256:cc
"""


def test_an_entry_keeps_its_hashes_and_every_marker() -> None:
    whole = SMALL_LOCK.partition("\n")[2]
    one, two = whole.split("Two", 1)
    cases = [
        ({"one"}, one),
        ({"two-words"}, f"Two{two}"),
        ({"one", "two-words"}, whole),
        (set(), ""),
    ]
    for names, expected in cases:
        assert locked(names, SMALL_LOCK) == expected


def test_a_name_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"lacks three; type make lock"):
        locked({"one", "three"}, SMALL_LOCK)


def test_closure_follows_extras_of_extras_and_ends_on_circles() -> None:
    names = closure(core_requirements())
    assert {
        canonicalize_name(re.split(r"[\[>=]", text)[0]) for text in core_requirements()
    } <= names
    assert "google-cloud-dataflow-client" in names, "an extra of Beam's"
    assert "protobuf" in names, "needed by what Beam needs"
    assert closure(sorted(names)) <= names | {"groundwork-vl"}
    assert not names & {"torch", "spacy", "rich", "jinja2", "matplotlib", "pytest", "s3fs"}


def test_the_printed_list_installs_with_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    worker_requirements.main([])
    printed = capsys.readouterr().out
    entries = re.findall(r"(?m)^[A-Za-z0-9].*(?:\n[ ].*)*", printed)
    assert len(entries) > 50
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert {entry.partition("==")[0] for entry in entries} > {"apache-beam", "setuptools", "pycurl"}
    assert all(entry in LOCK.read_text() for entry in entries)


def test_an_extra_brings_its_packages() -> None:
    plain = closure(worker_requirements.image_requirements())
    with_extra = closure(worker_requirements.image_requirements(["grounding"]))
    assert {"spacy", "torch", "torchvision", "transformers"} <= with_extra - plain
    with pytest.raises(ValueError, match="no extra guessing; there are launch"):
        worker_requirements.image_requirements(["guessing"])
