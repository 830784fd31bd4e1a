"""What `--data` may say, and what is answered to what it may not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.shards.toy_shards import captioned, grounded, select, write_run

from cogvlm.data import mixture
from cogvlm.data.mixture import open_mixture


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Open nothing; return the list of what was asked for."""
    asked: list[str] = []

    def fake(spec: str) -> Any:
        asked.append(spec)
        return SimpleNamespace(spec=spec, fingerprint=f"of {spec}")

    monkeypatch.setattr(mixture, "open_dataset", fake)
    return asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run", [("caption", "run", 1)]),
        ("rec=run", [("rec", "run", 1)]),
        ("run:2", [("caption", "run", 2)]),
        ("run:1e-3", [("caption", "run", 0.001)]),
        ("run:.5", [("caption", "run", 0.5)]),
        ("grounded_vqa=run@good:0.25", [("grounded_vqa", "run@good", 0.25)]),
        ("gs://bucket/run", [("caption", "gs://bucket/run", 1)]),
        ("s3://bucket/a/run:3", [("caption", "s3://bucket/a/run", 3)]),
        ("rec=gs://bucket/run@v1.2:1E2", [("rec", "gs://bucket/run@v1.2", 100)]),
        ("http://host:9000/run", [("caption", "http://host:9000/run", 1)]),
        ("/data/a=b/run", [("caption", "/data/a=b/run", 1)]),
        ("/data/my runs/one", [("caption", "/data/my runs/one", 1)]),
        (
            " one:1 ,  rec=two ,\n text = three : 4",
            [("caption", "one", 1), ("rec", "two", 1), ("text", "three", 4)],
        ),
        ("one,one", [("caption", "one", 1), ("caption", "one", 1)]),
        ("one:0,two", [("caption", "two", 1)]),
        ("one:0.0,rec=two:3,three:0", [("rec", "two", 3)]),
    ],
)
def test_what_is_understood(
    opened: list[str], text: str, expected: list[tuple[str, str, float]]
) -> None:
    found = open_mixture(text, "caption")
    assert [(each.task, each.dataset.spec, each.weight) for each in found] == expected
    assert opened == [spec for _, spec, _ in expected]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"--data is missing; give --data \[task=\]OUT"),
        ("  ", "--data is missing"),
        ("one,,two", "an entry is empty; separate shard sets by single commas"),
        ("one,", "an entry is empty"),
        ("one, ,two", "an entry is empty"),
        ("rec=", "--data rec=: no shard set"),
        ("rec= :2", "--data rec= :2: no shard set"),
        (":2", "--data :2: no shard set"),
        ("poem=run", "--data poem=run: unknown task 'poem'; known: dialogue, vqa, "),
        ("recc=run", "--data recc=run: unknown task 'recc'; did you mean rec?"),
        ("run:1e", "--data run:1e: '1e' is not a weight"),
        ("run:1-2", "'1-2' is not a weight"),
        ("run:-1", "--data run:-1: a weight is 0 or more"),
        ("run:1e999", "a weight is 0 or more"),
        ("one:0,two:0", "--data one:0,two:0: every weight is 0; nothing is left to train on"),
    ],
)
def test_what_is_not(opened: list[str], text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        open_mixture(text, "caption")
    assert opened == []


def test_the_option_is_named(opened: list[str]) -> None:
    with pytest.raises(ValueError, match="--val_data poem=run: unknown task"):
        open_mixture("poem=run", "caption", option="--val_data")


def test_real_runs(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", captioned(10))
    two = write_run(tmp_path / "two", grounded(6), level="grounded")
    select(one)
    found = open_mixture(f"{one}@half:2,rec={two}:0.5", "caption")
    assert [each.dataset.samples for each in found] == [5, 6]
    assert [each.dataset.level for each in found] == ["image_text", "grounded"]
    with pytest.raises(ValueError, match="nowhere"):
        open_mixture(f"{one},{tmp_path}/nowhere", "caption")


def test_the_identity_is_what_decides_the_samples_not_where_they_lie(tmp_path: Path) -> None:
    samples = captioned(10)
    one, other = write_run(tmp_path / "a", samples), write_run(tmp_path / "b", samples)
    select(other)

    def identity(text: str) -> dict[str, Any]:
        return open_mixture(text, "caption")[0].identity()

    assert identity(f"{one}:2") == identity(f"caption={other}:2")
    changed = [identity(text) for text in (f"{one}:1", f"text={one}:2", f"{other}@half:2")]
    assert all(identity(f"{one}:2") != each for each in changed)
