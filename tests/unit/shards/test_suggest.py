from __future__ import annotations

from shards.suggest import nearest, suggest


def test_the_nearest_name_is_offered() -> None:
    assert suggest("captoin", ["url", "caption"]) == "did you mean caption?"
    assert nearest("captoin", iter(["url", "caption"])) == "caption"


def test_without_a_near_name_all_are_listed() -> None:
    assert suggest("zzz", ["url", "caption"]) == "known: url, caption"
    assert nearest("zzz", ["url", "caption"]) is None
    assert nearest("captoin", ["caption"], cutoff=0.95) is None
