"""Prompt pools: ours can be used as they are, and what is wrong with a user's is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cogvlm.data.tasks import TASKS, check_prompts, pool
from cogvlm.data.tasks.pools import LANGUAGES, Language, heads

SLOTS = {name: task.slot for name, task in TASKS.items() if task.has_pool}
POOLS = [(name, language) for name in SLOTS for language in LANGUAGES]
HAN = re.compile(r"[\u4e00-\u9fff]")


def test_all_pools_can_be_read() -> None:
    check_prompts("")


@pytest.mark.parametrize(("name", "language"), POOLS)
def test_our_wordings(name: str, language: Language) -> None:
    found, slot = pool(name, language), SLOTS[name]
    assert len(found) >= 36
    assert len({re.sub(r"\W", "", wording.casefold()) for wording in found}) == len(found)
    for wording in found:
        assert wording.count("{") == wording.count("}") == (slot is not None)
        assert slot is None or f"{{{slot}}}" in wording
        assert wording == " ".join(wording.split())
        assert wording.endswith(endings(language, slot)), wording
        words = re.sub(r"{\w+}", "", wording)
        if language == "en":
            assert words.isascii()
            assert wording[0].isupper() or wording[0] == "{"
        else:
            assert HAN.search(words)
            assert not re.search(r"[A-Za-z,.?!;]", words), "half-width punctuation"


def endings(language: Language, slot: str | None) -> tuple[str, ...]:
    """A wording ends as a sentence, or in a colon, or with what was asked before it."""
    ends = (".", "?", ":") if language == "en" else ("。", "？", "：")
    return (*ends, f"{{{slot}}}") if slot else ends


@pytest.mark.parametrize(("name", "slot"), [each for each in SLOTS.items() if each[1]])
def test_english_wordings_leave_room_around_their_slot(name: str, slot: str) -> None:
    for wording in pool(name):
        assert re.search(rf"(^|[ ]){{{slot}}}([ .,?:]|$)", wording), wording


def test_the_first_wording_is_the_papers() -> None:
    assert pool("rec")[0] == "Where is {phrase}?"


def test_our_heads() -> None:
    nouns = [head for head, _ in heads()]
    assert len({*nouns}) == len(nouns) >= 50
    assert all(re.fullmatch("[a-z]+", noun) for noun in nouns)
    assert all(said.search(f"a {head}") for head, said in heads())


@pytest.mark.parametrize(
    ("caption", "is_said"),
    [
        ("a dog", True),
        ("two DOGS run", True),
        ("a puppy.", True),
        ("一只狗", True),
        ("一只dog在跑", True),
        ("dogma", False),
        ("a bulldog", True),
        ("a cat", False),
        ("", False),
    ],
)
def test_what_mentions_a_noun(caption: str, is_said: bool) -> None:
    said = dict(heads())["dog"]
    assert bool(said.search(caption)) == is_said


def write(folder: Path, name: str, text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return str(folder)


def test_a_users_file_replaces_ours_and_the_others_stay(tmp_path: Path) -> None:
    folder = write(
        tmp_path, "rec.en.txt", "\ufeff# mine\r\n\r\nSpot {phrase}!\r\n  Seek {phrase}\n"
    )
    check_prompts(folder)
    assert pool("rec", "en", folder) == ("Spot {phrase}!", "Seek {phrase}")
    assert pool("rec", "zh", folder) == pool("rec", "zh")
    assert heads(folder) == heads()


def test_a_users_nouns(tmp_path: Path) -> None:
    folder = write(tmp_path, "heads.txt", "tree: trees, oak\ncrane\n")
    check_prompts(folder)
    assert [(head, bool(said.search("an oak"))) for head, said in heads(folder)] == [
        ("tree", True),
        ("crane", False),
    ]


ONCE = r"must have {phrase} once and no other braces"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rec.en.txt", "Where is it?", rf"rec.en.txt, line 1: 'Where is it\?' {ONCE}"),
        ("rec.en.txt", "# a\n{phrase}?\n{phrase} {phrase}", rf"line 3: '.*' {ONCE}"),
        ("rec.en.txt", "Where is {object}?", ONCE),
        ("rec.en.txt", "Where is {phrase", ONCE),
        ("rec.en.txt", "Where is {phrase}}?", ONCE),
        ("rec.en.txt", "Where is {{phrase}}?", ONCE),
        ("rec.en.txt", "Where is {phrase!r}?", ONCE),
        ("rec.en.txt", "Where is {phrase:>9}?", ONCE),
        ("rec.en.txt", "Where is {phrase} {}?", ONCE),
        ("reg.zh.txt", "{phrase}?", r"must have {boxes} once"),
        ("grounded_vqa.en.txt", "With boxes, please.", r"must have {question} once"),
        ("caption.en.txt", "What is {this}?", "must have no braces"),
        ("rec.en.txt", "In <image>, where is {phrase}?", "has <image>, which is the place of"),
        ("rec.en.txt", "{phrase}?\n\n{phrase}?", r"line 3: '{phrase}\?' is in line 1 already"),
        ("rec.en.txt", "# nothing\n\n", "rec.en.txt has no wording; write one a line"),
        ("rec.en.txt", b"{phrase}\xff", "rec.en.txt is not UTF-8: invalid start byte at byte 8"),
        ("heads.txt", "dog, cat", "line 1: 'dog, cat' must be a noun, or noun: word"),
        ("heads.txt", ": dogs", "must be a noun"),
        ("heads.txt", "", "heads.txt has no noun"),
        ("rec.de.txt", "Wo ist {phrase}?", "rec.de.txt is not a pool; did you mean rec.[a-z]+.txt"),
        ("rec.en.md", "{phrase}?", "has no pool; it may have caption.en.txt, "),
    ],
)
def test_what_is_wrong_with_a_users_pool(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_prompts(write(tmp_path, name, text))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--prompts .*/mine is not a folder"):
        check_prompts(str(tmp_path / "mine"))
