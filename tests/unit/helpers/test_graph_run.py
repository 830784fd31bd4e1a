"""A run of a recorded graph ends: by itself, by its time or by its canceller."""

from __future__ import annotations

import sys

from helpers.pipelines.graph_run import GraphRun

EMPTY = {"pipeline.pb": b""}  # a graph without transforms is a valid one


def test_states_and_logs() -> None:
    cases = [
        ("nothing to run with", None, EMPTY, 60, "DONE", ""),
        ("an empty graph", sys.executable, EMPTY, 60, "DONE", ""),
        ("no graph", sys.executable, {}, 60, "FAILED", "FileNotFoundError"),
        ("not a graph", sys.executable, {"pipeline.pb": b"junk"}, 60, "FAILED", "DecodeError"),
        ("too slow", sys.executable, EMPTY, 0.01, "FAILED", "killed after 0.01 s"),
        ("no interpreter", "/nowhere/python", EMPTY, 60, "FAILED", "/nowhere/python"),
    ]
    runs = [GraphRun(python, files, limit) for _, python, files, limit, *_ in cases]
    for run, (name, *_, state, text) in zip(runs, cases, strict=True):
        assert run.wait() == state, (name, run.log_tail())
        assert text in run.log_tail(), (name, run.log_tail())


def test_cancel() -> None:
    run = GraphRun(sys.executable, EMPTY, 60)
    run.cancel()
    assert run.wait() == "CANCELLED"
    run.cancel()
    assert run.state == "CANCELLED"
