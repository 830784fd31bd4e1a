"""The parts of a report: texts that cannot become markup, spans, places, curves, options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import report
from pipelines.harness.accounting import Line
from pipelines.report_page import charts, learning
from pipelines.report_page.accounts import Equation
from pipelines.report_page.grounded import Piece, pieces
from pipelines.report_page.samples import choose_places, kept_sample
from pipelines.report_page.svg import element
from pipelines.report_page.words import percent, shown, web_address
from shards.access import RawSample
from shards.files.store import Store

LINKS = {
    "https://example.org/a.jpg?x=1&y=ü": True,
    "HTTP://example.org": True,
    "javascript:alert(1)": False,
    "JavaScript:alert(1)//https://example.org": False,
    "java\nscript:alert(1)": False,
    " https://example.org": False,
    "https://example.org/a\nb": False,
    "http://example.org/a b": False,
    "data:text/html,x": False,
    "//example.org/a.jpg": False,
    "ftp://example.org/a.jpg": False,
    "": False,
}


@pytest.mark.parametrize(("url", "is_link"), LINKS.items())
def test_only_http_becomes_a_link(url: str, is_link: bool) -> None:
    assert web_address(url) == (url if is_link else None)


def test_shown_text_keeps_its_places_and_has_an_end() -> None:
    assert shown("a\x00b\x1bc\ud800d\u202ee") == "a\ufffdb\ufffdc\ufffdd\u202ee"
    assert shown("x" * 5000) == "x" * 300 + "…" and shown("x" * 300) == "x" * 300
    assert shown(None) == ""


def test_small_shares_are_not_nothing() -> None:
    assert [percent(1, 3), percent(1, 10**6), percent(0, 5), percent(0, 0)] == [
        *("33.33 %", "< 0.01 %", "0.00 %", "n/a")
    ]


def test_svg_escapes_texts_and_attributes() -> None:
    made = element("g", element("text", '</svg><script>"'), aria_label='"><x onload=', x=1 / 3)
    assert made == (
        '<g aria-label="&quot;&gt;&lt;x onload=" x="0.33333">'
        "<text>&lt;/svg&gt;&lt;script&gt;&quot;</text></g>"
    )


CAPTION = "a dog on a red mat"
SPANS: dict[str, tuple[dict[Any, int], dict[Any, str], list[Piece]]] = {
    "apart": (
        {(0, 5): 0, (9, 18): 1},
        {},
        [Piece("a dog", 0), Piece(" on "), Piece("a red mat", 1)],
    ),
    "nested: the longer one": ({(0, 18): 0, (9, 18): 1}, {}, [Piece(CAPTION, 0)]),
    "overlapping, as long: the first": (
        {(0, 8): 0, (6, 14): 1},
        {},
        [Piece("a dog on", 0), Piece(" a red mat")],
    ),
    "one with a box before a longer one without": (
        {(2, 5): 0},
        {(0, 18): "no box", (9, 18): "pronoun"},
        [Piece("a "), Piece("dog", 0), Piece(" on "), Piece("a red mat", None, "pronoun")],
    ),
}


@pytest.mark.parametrize(("colours", "dropped", "expected"), SPANS.values(), ids=list(SPANS))
def test_coloured_spans_do_not_overlap(
    colours: dict[Any, int], dropped: dict[Any, str], expected: list[Piece]
) -> None:
    assert pieces(CAPTION, colours, dropped) == expected
    backwards = dict(reversed(colours.items()))
    assert pieces(CAPTION, backwards, dropped) == expected


def test_a_long_caption_is_cut_also_within_a_phrase() -> None:
    cut = pieces("é" * 5000, {(290, 400): 3, (450, 460): 4}, {})
    assert cut == [Piece("é" * 290), Piece("é" * 10, 3), Piece("…")]


@pytest.mark.parametrize("number", [0, 1, 7, 20, 21, 1000])
def test_places_are_different_and_exist(number: int) -> None:
    counts = (3, 0, 17, 1)
    places = choose_places(counts, number)
    assert len({*places}) == len(places) == min(number, sum(counts))
    assert all(0 <= row < counts[shard] for shard, row in places)
    assert places == sorted(places) == choose_places(counts, number)


def test_places_of_a_huge_run_are_spread() -> None:
    shards = [shard for shard, _ in choose_places((10_000,) * 300_000, 500)]
    assert len({*shards}) > 490 and min(shards) < 3_000 and max(shards) > 297_000


def raw(caption: str, **fields: Any) -> RawSample:
    text = caption.encode("utf-8", "surrogatepass")
    told = json.dumps({"caption": caption, **fields}).encode()
    return RawSample("k" * 32, (b"no image",), ("jpg",), text, told, "run", "000000")


def test_a_sample_without_a_usable_image_is_shown_without() -> None:
    sample = kept_sample(raw("a dog", url="javascript:alert(1)", source="web", source_row=3))
    assert (sample.images, sample.wants_image) == ((), True)
    assert (sample.origin.url, sample.origin.link) == ("javascript:alert(1)", None)
    assert sample.origin.place == "web, row 3"


def test_a_funnel_of_nothing_and_of_many_reasons_is_drawn() -> None:
    empty = Equation(Line("filter", 0, 0, {}), "selected", "kept")
    assert "0 selected, 0 kept (n/a)" in charts.funnel([empty])
    many = Equation(Line("download", 20, 0, {f"r{n:02d}": 1 for n in range(20)}), "in", "out")
    drawn = charts.funnel([many])
    assert "and 8 more" in drawn and "r11" in drawn and "r12" not in drawn


def log(folder: Path, *lines: dict[str, Any], torn: bytes = b"") -> str:
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    (folder / "log.jsonl").write_bytes(text + torn)
    return str(folder)


def step(number: int, loss: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "loss": loss}


def test_a_loss_curve_takes_the_last_of_a_repeated_step(tmp_path: Path) -> None:
    steps = [step(1, 9.0), step(2, 8.0), step(2, 3.0), step(3, "nan"), step(4, 1.0)]
    events = [{"kind": "start", "step": 0}, {"kind": "validation", "step": 4, "raw": 2.5}]
    found = learning.training(log(tmp_path, *events, *steps, torn=b'{"kind": "st'))
    assert (found.steps, found.validations) == (4, 1)
    assert ">9</text>" in found.loss and ">8</text>" not in found.loss
    assert found.loss.count("<circle") == 1 and "nan" not in found.loss


@pytest.mark.parametrize("losses", [["nan"], [2.0], [1e300, -1e300]])
def test_odd_losses_are_drawn(tmp_path: Path, losses: list[Any]) -> None:
    found = learning.training(log(tmp_path, *(step(n, x) for n, x in enumerate(losses))))
    assert "<svg" in found.loss and "nan" not in found.loss and "inf" not in found.loss


def test_broken_logs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no log\.jsonl there"):
        learning.training(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no step yet"):
        learning.training(log(tmp_path))
    with pytest.raises(ValueError, match="line 2: not a line of a training log"):
        learning.training(log(tmp_path, step(1, 1.0), {"kind": "step"}))


def test_metrics_of_an_evaluation_are_flat(tmp_path: Path) -> None:
    entry = {"task": "rec", "data": {"spec": "run@val"}, "questions": 7, "template": "chat"}
    entry |= {
        "accuracy": 0.5,
        "by_size": {"small": {"accuracy": 0.25}},
        "recall": None,
        "n": [1, 2],
    }
    file = tmp_path / "found.json"
    file.write_text(json.dumps({"model": {"described": "mine, step 3"}, "entries": [entry]}))
    (found,) = learning.evaluations(str(file))
    assert (found.task, found.model, found.data, found.questions) == (
        *("rec", "mine, step 3", "run@val", 7),
    )
    assert dict(found.metrics) == {
        "accuracy": "0.5",
        "by_size.small.accuracy": "0.25",
        "recall": "n/a",
        "n": "1 2",
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": null, "entries": [{}]}'])
def test_other_files_are_no_evaluations(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"not a file of .* --json") as told:
        learning.evaluations(str(tmp_path / "a.json"))
    assert type(told.value) is ValueError
    with pytest.raises(ValueError, match="there is no such file"):
        learning.evaluations(str(tmp_path / "b.json"))


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("a/b.json", "a", "b.json"),
        ("/b.json", "/", "b.json"),
        ("gs://x/b.json", "gs://x", "b.json"),
    ],
)
def test_a_file_has_a_place_in_a_store(path: str, root: str, name: str) -> None:
    store, found = learning.place(path)
    assert (store, found) == (Store(root), name)


@pytest.mark.parametrize("path", ["a/", "s3://bucket", ""])
def test_a_folder_is_no_file(path: str) -> None:
    with pytest.raises(ValueError, match="names a folder"):
        learning.place(path)


@pytest.mark.parametrize("wrong", ["-1", "many", "10001"])
def test_a_number_of_samples_is_one(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        report.main(["run", f"--samples={wrong}"])
    assert stopped.value.code == 2 and "not a number of samples" in capsys.readouterr().err
