"""Local disk's own promises: kills, file systems without hard links, places one cannot write."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shards.files.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK])
def without_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: str, path: str) -> None:
        raise OSError(request.param, os.strerror(request.param), path)

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize(
    ("root", "expected"),
    [("/a/b/", "/a/b"), ("file:///a/b", "/a/b"), ("gs://bucket/x/", "gs://bucket/x")],
)
def test_roots(root: str, expected: str) -> None:
    store = Store(root)
    assert store.root == expected
    assert store.url("c/d") == f"{expected}/c/d"
    assert store.local_path("c") == (f"{expected}/c" if expected.startswith("/") else None)
    assert pickle.loads(pickle.dumps(store)) == store


@pytest.mark.parametrize("root", ["", "file://", "http://host/x", "gs://", "memory://a", "s3:///"])
def test_other_roots_are_refused(root: str) -> None:
    with pytest.raises(ValueError, match="gs://"):
        Store(root)


def test_publish_is_a_hard_link(store: Store) -> None:
    store.write("attempt/a", b"1")
    store.publish("attempt/a", "final/a")
    assert os.stat(store.url("attempt/a")).st_ino == os.stat(store.url("final/a")).st_ino


@pytest.mark.usefixtures("without_links")
def test_publish_without_links_copies(store: Store) -> None:
    store.write("attempt/a", b"winner")
    store.write("final/a", b"wrong")
    store.publish("attempt/a", "final/a")
    assert store.read("final/a") == b"winner"
    assert os.listdir(store.url("final")) == ["a"]


@pytest.mark.usefixtures("without_links")
def test_create_without_links_has_one_winner(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda i: store.create("claims/1", b"%d" % i), range(16)))
    assert won.count(True) == 1
    assert store.read("claims/1") == b"%d" % won.index(True)
    assert os.listdir(store.url("claims")) == ["1"]


def test_put_across_file_systems_copies(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"body")
    rename = os.replace

    def replace(source: str, path: str) -> None:
        if source == str(spool):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        rename(source, path)

    monkeypatch.setattr(os, "replace", replace)
    store.put(str(spool), "a/b")
    assert store.read("a/b") == b"body"
    assert not spool.exists()
    assert os.listdir(store.url("a")) == ["b"]


@pytest.mark.parametrize("operation", ["write", "create", "publish", "put"])
def test_a_kill_before_the_last_step_leaves_no_wrong_final(
    store: Store, tmp_path: Path, operation: str
) -> None:
    """A child dies in the call that would make the name appear; the next try must succeed."""
    store.write("attempt/a", b"new")
    if operation != "create":
        store.write("final/a", b"old")
    spool = tmp_path / "spool"
    spool.write_bytes(b"new")
    child = os.fork()
    if child == 0:
        os.replace = os.link = lambda *_: os._exit(9)  # type: ignore[assignment]
        _run(store, operation, str(spool))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    if operation == "create":
        assert not store.exists("final/a")
    else:
        assert store.read("final/a") == b"old"
    assert [entry.name for entry in store.list("final")] == ["final/a"] * (operation != "create")
    _run(store, operation, str(spool))
    assert store.read("final/a") == b"new"


def _run(store: Store, operation: str, spool: str) -> None:
    if operation == "publish":
        store.publish("attempt/a", "final/a")
    elif operation == "put":
        store.put(spool, "final/a")
    elif operation == "create":
        store.create("final/a", b"new")
    else:
        store.write("final/a", b"new")


def test_a_file_in_the_way_is_the_users_to_mend(store: Store) -> None:
    store.write("a", b"")
    for name in ("a/b", "a/b/c"):
        with pytest.raises(ValueError, match="output directory"):
            store.write(name, b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_the_users_to_mend(store: Store, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match=r"run.*Permission denied"):
            store.write("a", b"")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_names_the_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left.*free space.*run/a/b"):
        store.write("a/b", b"1")
    monkeypatch.undo()
    assert not store.exists("a/b")
    assert os.listdir(store.url("a")) == []


def test_trees_are_deleted_by_two_at_once(store: Store) -> None:
    for item in range(200):
        store.write(f"_attempts/{item % 20}/{item}", b"")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.delete_tree("_attempts"), range(4)))
    assert not os.path.exists(store.url("_attempts"))


def test_s3_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"groundwork-vl\[s3\]"):
        Store("s3://bucket/run").read("run.json")


def test_a_store_survives_a_lost_folder(store: Store) -> None:
    store.write("a/b", b"1")
    shutil.rmtree(store.root)
    store.write("a/b", b"2")
    assert store.read("a/b") == b"2"
