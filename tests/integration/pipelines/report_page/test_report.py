"""Reports of real runs: numbers are the manifest's, nothing hostile gets through, same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines import corpora, html_pages, jobs, pack_files
from helpers.pipelines.html_pages import Page
from helpers.shards import toy_shards

from examples.web import Page as WebPage
from examples.web import serve
from pipelines.report_page import write_report
from shards.access import SampleReader
from shards.dataset import open_dataset

HOSTILE = (
    "<script>alert(1)</script> a photograph of an old bridge",
    '"><img src=x onerror=alert(2)> beside a river in spring',
    "</bdi></p><iframe src=//evil.example></iframe> a garden wall",
    "a photograph \u202egnp.exe of the harbour at night\u2066",
    "{{ 7 * 7 }} {% raw %} a castle behind some orchards",
)
LONG = " ".join(f"word{number}" for number in range(700))  # more than 5,000 characters
UNSAFE = "a caption that nobody may see again"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of hostile metadata, every kind of row in it."""
    folder = tmp_path_factory.mktemp("report")
    # As the fetcher asks for them.
    asked = {f"/{n}.jpg?%3Cb%3E&%22": n for n in range(len(HOSTILE))}
    with serve({path: WebPage(jobs.picture(n)) for path, n in asked.items()}) as base:
        rows = [corpora.joined(f'{base}/{n}.jpg?<b>&"', text) for n, text in enumerate(HOSTILE)]
        rows += [
            corpora.joined(f"{base}/long.jpg", LONG),
            corpora.joined("javascript:alert(document.domain)", "a picture of a lighthouse"),
            corpora.joined(f"{base}/gone.jpg", "<b>a picture</b> that is gone <script>"),
            corpora.joined(f"{base}/unsafe.jpg", UNSAFE, punsafe=0.99),
        ]
        metadata = corpora.write_joined(folder / "meta" / "rows.parquet", rows)
        flags = ("--input", f"laion2b_en_joined={metadata}", "--store", "stage1")
        return corpora.run_filter(folder / "run", *flags, *corpora.LOOPBACK)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "run"
    return toy_shards.write_run(folder, toy_shards.captioned(40, size=96), uneven=True)


@pytest.fixture(scope="module")
def grounded(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("grounded") / "run"
    flags = (f"--input={pairs}", f"--output={output}", "--detector=blobs", "--spacy_model=lexicon")
    code, errors = jobs.run([*flags, "--worker_mode=threads"], "pipelines.ground")
    assert code == 0, errors
    return output


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """Return a copy of the hostile run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def report(output: Path, *runs: Path | str, **options: Any) -> Page:
    """Write a report, see that it is harmless, and return it."""
    write_report([str(each) for each in runs], str(output), **options)
    page = html_pages.read(output.read_text(encoding="utf-8"))
    html_pages.check_harmless(page)
    return page


def refused(*arguments: Path | str) -> str:
    """Run the command, which must be refused in one line; return that line."""
    code, errors = jobs.run([str(each) for each in arguments], "pipelines.report")
    assert code == 2 and errors.startswith("error: ") and errors.count("\n") == 1, errors
    return errors


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_numbers_are_the_manifests(run: Path, tmp_path: Path) -> None:
    page = report(tmp_path / "page.html", run)
    told = words(page)
    for line in jobs.counts(run).values():
        assert f"{line['in']} " in told
        for name, count in line["left_out"].items():
            assert (f"+ {count} {name}" in told) == bool(count)
    assert "9 selected = 6 kept" in told and "6 planned = 5 samples + 1 http_not_found" in told
    assert "Every row has one place: holds" in told and "does not hold" not in told
    assert "add up to 9 selected, 6 kept and the same reasons" in told
    assert "rejected alone" in told and "url.scheme" in told
    found = json.loads((run / "manifest.json").read_text())
    assert all(digest in told for digest in found["fingerprints"].values())
    assert "python -m pipelines.filter --output" in told and "contract version 1" in told


def test_hostile_text_is_text(run: Path, tmp_path: Path) -> None:
    page = report(tmp_path / "page.html", run)
    assert all(caption in page.text for caption in HOSTILE)
    assert page.text.count("javascript:alert(document.domain)") == 1
    assert LONG[:300] + "…" in page.text and LONG[:310] not in page.text
    assert len(page.values("img", "src")) == len(HOSTILE) == len(page.values("a", "href"))
    raw = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<bdi>a photograph \u202egnp.exe of the harbour at night\u2066</bdi>" in raw


def test_a_row_that_a_safety_rule_rejected_shows_nothing(copy: Path, tmp_path: Path) -> None:
    page = report(tmp_path / "page.html", copy)
    assert "withheld: a safety rule rejected it" in page.text and "filter: nsfw, 1" in page.text
    (part,) = (copy / "rejects").glob("*.parquet")
    rows = pq.read_table(part).to_pylist()
    (unsafe,) = [row for row in rows if row["reason"] == "nsfw"]
    assert unsafe["url"] is None and unsafe["key"] in page.text

    # A file that held more of it, whoever wrote it, would not change the page.
    unsafe |= {"url": "https://unsafe.example/x.jpg", "caption": UNSAFE}
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(part)), part)
    again = report(tmp_path / "again.html", copy)
    assert UNSAFE not in again.text and "unsafe.example" not in again.text
    assert page.text.count(unsafe["key"]) == again.text.count(unsafe["key"]) == 1


def test_a_tampered_manifest_does_not_hold(copy: Path, tmp_path: Path) -> None:
    path = copy / "manifest.json"
    told = json.loads(path.read_text())
    told["counts"]["mix"]["out"] -= 1
    path.write_text(json.dumps(told))
    found = words(report(tmp_path / "page.html", copy))
    assert "6 kept ≠ 5 planned 1 without a place does not hold" in found
    assert "mix put out 5, download took in 6 does not hold" in found
    assert "9 selected = 6 kept" in found  # the line of another stage is whole
    assert "Every row has one place: does not hold" in found

    told["counts"]["mix"]["out"] += 1
    told["counts"]["filter"]["left_out"] |= {"nsfw": 0, "political": 1}
    path.write_text(json.dumps(told))
    found = words(report(tmp_path / "page.html", copy))
    assert "the same reasons does not hold" in found


def test_the_same_run_gives_the_same_bytes(run: Path, grounded: Path, tmp_path: Path) -> None:
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for page in pages:
        report(page, run, grounded)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_chain_is_checked_from_run_to_run(
    run: Path, pairs: Path, grounded: Path, tmp_path: Path
) -> None:
    told = words(report(tmp_path / "page.html", pairs, grounded))
    assert f"{pairs} holds 40 samples, phrases of {grounded} took in 40 holds" in told
    other = words(report(tmp_path / "page.html", run, grounded))
    assert f"another fingerprint, not from {run} as it is now does not hold" in other
    assert "Every row has one place: does not hold" in other
    backwards = words(report(tmp_path / "page.html", grounded, pairs))
    assert f"{pairs} does not record that it was made from {grounded} not recorded" in backwards
    assert "Every row has one place: holds" in backwards


def test_boxes_and_yields_of_a_grounding_run(grounded: Path, tmp_path: Path) -> None:
    page = report(tmp_path / "page.html", grounded, samples=8)
    yields = json.loads((grounded / "stats" / "yields.json").read_text())
    selected, told = yields["selected"], words(page)
    assert f"{selected['two_boxes']} of {selected['images']} selected images" in told
    assert "must be above 3/4 holds" in told
    boxes = [value for value in page.values("rect", "class") if value.startswith("box p")]
    marks = page.values("mark", "class")
    assert len(page.values("img", "src")) == 8
    assert {value.split()[1] for value in boxes} == {*marks} and len(boxes) >= len(marks) > 8
    head = max(yields["heads"], key=lambda word: yields["heads"][word][0])
    assert f"{head} {yields['heads'][head][0]} {yields['heads'][head][1]}" in told
    assert sum(yields["scores"].values()) == sum(
        int(each.split(": ")[1]) for each in told_titles(tmp_path / "page.html") if "." in each
    )


def told_titles(page: Path) -> list[str]:
    """Return what a pointer over the columns shows."""
    parts = page.read_text().split('class="out"><title>')[1:]
    return [part.partition("</title>")[0] for part in parts]


def test_nested_and_foreign_spans_are_shown(tmp_path: Path) -> None:
    (made,) = toy_shards.grounded(1)
    caption = "é🙂 a <b>cat</b> on a mat"
    rows = [[0, 15, 0, 0, 1, 1, 0.9], [3, 15, 0.1, 0.1, 0.5, 0.5, 0.8], [3, 8, 0, 0, 0.2, 1, 0.7]]
    phrase = dict(made.fields["phrases"][0])
    phrases = [phrase | {"start": row[0], "end": row[1]} for row in rows]
    phrases.append(phrase | {"start": 19, "end": 24, "drop_reason": "<pronoun>"})
    fields = {"noun_chunks": rows, "ref_exps": rows, "phrases": phrases}
    sample = toy_shards.ToySample(caption, made.images, fields, made.size_px)
    run = toy_shards.write_run(tmp_path / "run", [sample], level="grounded")
    page = report(tmp_path / "page.html", run)
    assert page.values("mark", "class") == ["p0"]
    assert [v for v in page.values("rect", "class") if "box" in v] == ["box p0", "box p1", "box p2"]
    assert page.values("span", "title") == ["<pronoun>"]
    assert "0.90" in page.text and "0.80" in page.text and "0.70" in page.text
    assert caption in page.text.replace("\n", "")


def test_a_sample_that_breaks_the_contract_is_named(tmp_path: Path) -> None:
    made = toy_shards.grounded(2)
    broken = toy_shards.ToySample(
        made[0].caption, made[0].images, {"noun_chunks": [[0, 999, 0, 0, 1, 1, 1]]}, (64, 64)
    )
    run = toy_shards.write_run(tmp_path / "run", [broken, made[1]], level="grounded")
    told = words(report(tmp_path / "page.html", run))
    assert f"sample {broken.key}: its JSON lacks 'phrases'" in told and made[1].key in told


@pytest.mark.parametrize("level", toy_shards.BY_LEVEL)
def test_every_level_has_its_samples(level: str, tmp_path: Path) -> None:
    made = toy_shards.BY_LEVEL[level](6)
    run = toy_shards.write_run(tmp_path / "run", made, level=level, uneven=True)
    page = report(tmp_path / "page.html", run)
    assert all(sample.key in page.text for sample in made)
    assert len(page.values("img", "src")) == sum(len(sample.images) for sample in made)
    assert "download: http_not_found" in page.text


def test_a_packing_run(tmp_path: Path) -> None:
    made = pack_files.SETS["vqa"](tmp_path / "set")
    flags = [f"--format={made.format}", *made.flags, f"--output={tmp_path}/run"]
    code, errors = jobs.run(flags, "pipelines.pack")
    assert code == 0, errors
    told = words(report(tmp_path / "page.html", tmp_path / "run"))
    assert f"{made.records} records =" in told and "python -m pipelines.pack" in told
    assert "does not hold" not in told


def test_a_stopped_run_and_a_run_without_samples(run: Path, tmp_path: Path) -> None:
    rows = [corpora.joined("http://127.0.0.1:9/none.jpg", "a picture that cannot be fetched")]
    metadata = corpora.write_joined(tmp_path / "rows.parquet", rows)
    flags = ("--input", f"laion2b_en_joined={metadata}", *corpora.LOOPBACK)
    corpora.run_filter(tmp_path / "stopped", *flags, "--stop_after=filter")
    told = words(report(tmp_path / "page.html", tmp_path / "stopped"))
    assert "selected =" in told and "mix put out" not in told and "none" in told


def test_a_selection_has_a_page_of_its_own(tmp_path: Path) -> None:
    run = toy_shards.write_run(tmp_path / "run", toy_shards.captioned(12), shard_size=5)
    toy_shards.select(run, "half")
    place = write_report([f"{run}@half"])
    assert place == f"{run}/selections/half/report.html"
    page = html_pages.read(Path(place).read_text())
    dataset = open_dataset(f"{run}@half")
    kept = [raw.key for s in range(len(dataset.shards)) for raw in SampleReader(dataset).iterate(s)]
    assert 0 < len(kept) < 12 and all(key in page.text for key in kept)
    assert len(page.values("img", "src")) == len(kept)
    assert "another state" in refused(_changed(run) + "@half")


def _changed(run: Path) -> str:
    path = run / "manifest.json"
    path.write_text(path.read_text() + " ")
    return str(run)


def img2dataset_folder(pairs: Path, folder: Path, stats: dict[str, Any]) -> Path:
    """Make a folder as img2dataset writes them out of a run's first shard."""
    folder.mkdir()
    shutil.copy(pairs / "shards/000000.tar", folder / "00000.tar")
    rows = pq.read_table(pairs / "shards/000000.parquet").select(
        ["url", "caption", "key", "status", "error_message"]
    )
    pq.write_table(rows, folder / "00000.parquet")
    (folder / "00000_stats.json").write_text(json.dumps(stats))
    return folder


def test_an_img2dataset_folder_is_shown_and_not_written_to(pairs: Path, tmp_path: Path) -> None:
    stats = {"successes": 8, "count": 9, "failed_to_download": 1, "failed_to_resize": 0}
    folder = img2dataset_folder(pairs, tmp_path / "old", stats)
    before = sorted(path.name for path in folder.iterdir())
    page = report(tmp_path / "page.html", folder)
    assert "9 listed = 8 samples + 1 failed_to_download" in words(page)
    assert len(page.values("img", "src")) == 8 and "download: failed_to_download" in page.text
    assert "--output FILE" in refused(folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    bare = img2dataset_folder(pairs, tmp_path / "bare", {"successes": 8})
    assert "nothing was counted" in report(tmp_path / "page.html", bare).text


def test_the_command_writes_into_the_last_run(
    run: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, errors = jobs.run([str(run), str(copy), "--samples=2"], "pipelines.report")
    assert (code, errors) == (0, "")
    assert capsys.readouterr().out == f"report: {copy}/report.html\n"
    assert not (run / "report.html").exists()
    page = html_pages.read((copy / "report.html").read_text())
    assert len(page.values("img", "src")) == 4


def test_training_and_evaluations_have_their_sections(pairs: Path, tmp_path: Path) -> None:
    lines = [{"kind": "step", "step": n, "loss": 5 - n / 10} for n in range(20)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = {"task": "rec", "data": {"spec": "<b>set"}, "questions": 1234, "accuracy": 0.9276}
    (tmp_path / "found.json").write_text(json.dumps({"model": None, "entries": [entry]}))
    options = {"training": str(tmp_path), "evaluations": [str(tmp_path / "found.json")]}
    page = report(tmp_path / "page.html", pairs, **options)
    assert "20 steps; the loss went from 4.800 to 3.300 nats" in words(page)
    assert "rec <b>set no model 1,234 accuracy 0.9276" in words(page)
    assert len(page.values("polyline", "points")) == 2


def test_damage_is_told_in_one_line(copy: Path, tmp_path: Path) -> None:
    (tar,), (sidecar,) = copy.glob("shards/*.tar"), copy.glob("shards/*.parquet")
    tar.write_bytes(tar.read_bytes()[:1500])
    told = words(report(tmp_path / "page.html", copy))
    assert "tar_damaged" in told and "download: http_not_found, 1" in told
    sidecar.write_bytes(sidecar.read_bytes()[:500])
    assert "cannot be read" in refused(copy) and not (copy / "report.html").exists()


def test_mistakes_are_told_in_one_line(pairs: Path, copy: Path, tmp_path: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "neither a run" in refused(tmp_path / "empty")
    assert "no finished selection 'none'" in refused(f"{pairs}@none")
    assert "is a folder" in refused(pairs, f"--output={tmp_path}/empty")
    assert "give a file" in refused(pairs, f"--output={tmp_path}/empty/")
    assert "no log.jsonl there" in refused(pairs, f"--training={tmp_path}")
    assert "there is no such file" in refused(pairs, f"--evaluation={tmp_path}/x.json")
    (copy / "manifest.json").unlink()
    assert "it is not finished" in refused(copy)
