"""The selection bench at toy size: both passes agree, and its numbers make sense."""

from __future__ import annotations

from benchmarks import selection_speed


def test_a_small_selection_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(selection_speed, "ROWS", 300_000)
    found = selection_speed.figures(tmp_path, full=False)
    assert all(each.value > 0 for each in found)
    assert [each.name for each in found if each.goal] == [
        "selection, 300,000 images",
        "selection, 300,000 images: peak memory",
        "their share with two boxes",
    ]
    assert 0.5 < next(each.value for each in found if each.name == "kept") < 0.7
