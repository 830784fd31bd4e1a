"""The writer protocol's steps: who wins, what can be repeated, what is swept, what is an error."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shards.files.commit import (
    Attempt,
    ClaimVoidError,
    FileRecord,
    ItemId,
    collect_garbage,
    commit,
    encode,
    is_published,
    publish,
    read_done,
    read_marker,
    recorded,
)
from shards.files.store import Store

ITEM = ItemId("download", "000007")
TAR, SIDECAR = "shards/000007.tar", "shards/000007.parquet"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def attempt(store: Store, content: str, item: ItemId = ITEM, claimed: bool = True) -> dict:
    """Make one whole attempt whose files and result say who made them."""
    with Attempt(store, item) as made:
        for name in (TAR, SIDECAR):
            Path(made.path(name)).write_text(f"{content} {name}")
        return commit(made, {"by": content}, claimed=claimed, run={"host": content})


def test_an_attempt_ends_published_and_marked(store: Store) -> None:
    result = attempt(store, "one")
    assert result["by"] == "one"
    assert [file["name"] for file in result["files"]] == [SIDECAR, TAR]
    assert all(is_published(store, FileRecord(**file)) for file in result["files"])
    marker = read_marker(store, ITEM)
    assert marker is not None
    assert marker["result"] == result == read_done(store, ITEM)
    assert marker["run"]["host"] == "one"
    assert json.loads(store.read(ITEM.claim))["attempt"] == marker["run"]["attempt"]


def test_the_second_attempt_gets_the_result_of_the_first(store: Store) -> None:
    first = attempt(store, "one")
    assert attempt(store, "two") == first
    assert store.read(TAR) == f"one {TAR}".encode()
    (left,) = store.folders(ITEM.attempts)  # the loser's files are gone at once
    assert left == read_marker(store, ITEM)["run"]["attempt"]


@pytest.mark.parametrize("claimed", [True, False])
def test_racing_attempts_have_one_winner(store: Store, claimed: bool) -> None:
    """A pure item has no claim: there every attempt has the same bytes."""
    start = threading.Barrier(6)

    def race(number: int) -> dict:
        start.wait(10)
        return attempt(store, str(number) if claimed else "same", claimed=claimed)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(race, range(6)))
    assert all(result == results[0] for result in results)
    assert {store.read(name).decode().split()[0] for name in (TAR, SIDECAR)} == {results[0]["by"]}
    assert store.exists(ITEM.claim) == claimed


def test_generations_do_not_meet(store: Store) -> None:
    later = ItemId("download", "000007", 1)
    attempt(store, "one")
    assert attempt(store, "two", later)["by"] == "two"
    assert read_done(store, ITEM)["by"] == "one"
    assert store.read(TAR) == f"two {TAR}".encode()


def test_a_claim_without_its_marker_is_published_by_the_next(store: Store) -> None:
    result = attempt(store, "one")
    for name in (ITEM.marker, TAR):
        store.delete(name)
    store.write(SIDECAR, b"damaged on the way")
    assert recorded(store, ITEM, {"host": "next"}) == result
    assert store.read(SIDECAR) == f"one {SIDECAR}".encode()
    assert read_marker(store, ITEM)["run"]["host"] == "next"


def test_nothing_is_recorded_of_an_attempt_that_died_before_its_claim(store: Store) -> None:
    with Attempt(store, ITEM) as made:
        Path(made.path(TAR)).write_text("half")
    assert recorded(store, ITEM, {}) is None
    assert store.folders(ITEM.attempts) == []


def test_publishing_again_touches_nothing(store: Store, tmp_path: Path) -> None:
    result = attempt(store, "one")
    files = [FileRecord(**file) for file in result["files"]]
    before = {name: (tmp_path / name).stat().st_ino for name in (TAR, SIDECAR)}
    store.delete_tree(ITEM.attempts)  # right files need no source
    publish(store, f"{ITEM.attempts}/gone", files)
    assert {name: (tmp_path / name).stat().st_ino for name in before} == before


@pytest.mark.parametrize("final", [None, b"of somebody else", f"two {TAR}".encode()])
def test_a_void_claim_names_both_files(store: Store, final: bytes | None) -> None:
    attempt(store, "one")
    folder = read_marker(store, ITEM)["run"]["attempt"]
    for name in (ITEM.marker, TAR, f"{folder}/{TAR}"):
        store.delete(name)
    if final is not None:
        store.write(TAR, final)
    with pytest.raises(ClaimVoidError) as error:
        recorded(store, ITEM, {})
    assert store.url(TAR) in str(error.value)
    assert store.url(f"{folder}/{TAR}") in str(error.value)
    assert "remove the item's claim" in str(error.value)
    assert read_done(store, ITEM) is None

    store.delete(ITEM.claim)  # what the message says
    assert attempt(store, "two")["by"] == "two"


def test_a_file_that_was_promised_but_not_written_fails_the_attempt(store: Store) -> None:
    with Attempt(store, ITEM) as made:
        made.path(TAR)
        with pytest.raises(FileNotFoundError, match=r"000007\.tar"):
            commit(made, {}, claimed=True, run={})
    assert not store.exists(ITEM.claim)
    assert store.folders(ITEM.attempts) == []


def test_scratch_is_not_published(store: Store) -> None:
    with Attempt(store, ITEM) as made:
        Path(made.scratch("spool")).write_text("images")
        Path(made.path(TAR)).write_text("tar")
        result = commit(made, {}, claimed=True, run={})
    assert [file["name"] for file in result["files"]] == [TAR]
    assert not store.exists("spool")


def test_only_done_items_are_swept_and_young_losers_stay(store: Store, tmp_path: Path) -> None:
    names = ("winner", "young", "old", "deep")
    folders = {name: f"_attempts/download/done/{name}" for name in names}
    folders["undone"] = "_attempts/download/undone/old"
    folders["elsewhere"] = "_attempts/filter/done/old"
    for name, folder in folders.items():
        store.write(f"{folder}/shards/x.tar", b"x")
        _age(tmp_path / folder, 0 if name in ("winner", "young") else 7200)
    _age(tmp_path / folders["deep"] / "shards" / "x.tar", 0)  # written to just now
    removed = collect_garbage(store, "download", {"done": folders["winner"]}, 3600)
    left = {name for name, folder in folders.items() if (tmp_path / folder).exists()}
    assert (removed, left) == (2, {"young", "deep", "undone", "elsewhere"})


def test_json_has_one_form() -> None:
    assert encode({"b": 1, "a": "é"}) == encode({"a": "é", "b": 1})
    assert encode({}).endswith(b"\n")
    with pytest.raises(ValueError):
        encode({"a": float("nan")})


def _age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then))
