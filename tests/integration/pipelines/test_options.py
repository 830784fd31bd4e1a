"""What the options mean, and what a mistake in them is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines import jobs

from pipelines.filter_job.options import JOB_OPTIONS
from shards import identity

ROWS = 400


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write rows that every rule keeps, in several row groups and two files."""
    folder = tmp_path_factory.mktemp("metadata")
    pq.write_table(rows(0, ROWS // 2), folder / "a.parquet", row_group_size=50)
    pq.write_table(rows(ROWS // 2, ROWS), folder / "b.parquet", row_group_size=70)
    return folder


def rows(first: int, last: int) -> pa.Table:
    numbers = range(first, last)
    return pa.table(
        {
            "url": [f"http://host{i}.example.com/{i}.jpg" for i in numbers],
            "caption": [f"a photograph of the old bridge number {i} at night" for i in numbers],
            "nsfw_score": [0.1] * len(numbers),
        }
    )


def filtered(output: Path, *flags: str) -> tuple[int, str]:
    return jobs.run([f"--output={output}", "--stop_after=filter", *flags])


def told(output: Path, *flags: str) -> str:
    """Run a job that must be refused in one line, with nothing written; return that line."""
    code, errors = filtered(output, *flags)
    (line,) = [each for each in errors.splitlines() if each.startswith("error: ")]
    assert code == 2, errors
    assert not output.exists()
    return line


def kept(output: Path) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(part).select(["url", "caption", "source", "source_file", "source_row"])
        for part in sorted((output / "kept").glob("*.parquet"))
    )


def urls(output: Path) -> set[str]:
    return set(kept(output)["url"].to_pylist())


@pytest.mark.parametrize("limit", [1, 50, 60, 199, 201, 4000])
def test_limit_is_the_first_rows_of_each_source(limit: int, metadata: Path, tmp_path: Path) -> None:
    assert filtered(tmp_path, f"--input={metadata}", f"--limit={limit}")[0] == 0
    expected = rows(0, min(limit, ROWS))["url"].to_pylist()
    assert kept(tmp_path)["url"].to_pylist() == expected
    assert jobs.counts(tmp_path)["filter"]["in"] == len(expected)


def test_sample_is_a_choice_of_urls_by_hash(metadata: Path, tmp_path: Path) -> None:
    chosen = {}
    for name, flags in {
        "half": ("--sample=0.5",),
        "more": ("--sample=0.8",),
        "seed": ("--sample=0.5", "--seed=1"),
        "part": ("--sample=0.5", "--limit=200"),
        "all": ("--sample=1",),
    }.items():
        assert filtered(tmp_path / name, f"--input={metadata}", *flags)[0] == 0
        chosen[name] = urls(tmp_path / name)
        line = jobs.counts(tmp_path / name)["filter"]
        assert line["in"] == line["out"] == len(chosen[name])
    assert len(chosen["all"]) == ROWS
    assert chosen["half"] < chosen["more"]
    assert 0.4 < len(chosen["half"]) / ROWS < 0.6
    assert 0.4 < len(chosen["half"] & chosen["seed"]) / len(chosen["half"]) < 0.6
    assert chosen["part"] == chosen["half"] & set(rows(0, 200)["url"].to_pylist())


def test_sample_has_its_own_domain(metadata: Path, tmp_path: Path) -> None:
    """The chosen half fills all buckets alike: no other choice follows from it."""
    assert filtered(tmp_path, f"--input={metadata}", "--sample=0.5")[0] == 0
    parts = [pq.read_table(part, columns=["url"]) for part in (tmp_path / "kept").glob("*")]
    table = pa.concat_tables(parts)["url"].combine_chunks()
    hashes = identity.url_hashes(table, identity.canonical_urls(table))
    for domain in (identity.Domain.BUCKET, identity.Domain.ORDER, identity.Domain.REJECT_SAMPLE):
        share = np.mean(identity.choice(domain, 0, identity.hash_words(hashes)) & np.uint64(1))
        assert 0.35 < share < 0.65, domain


def test_rows_of_one_url_are_sampled_together(tmp_path: Path) -> None:
    twice = pa.concat_tables([rows(0, 100), rows(0, 100)])
    pq.write_table(twice, tmp_path / "a.parquet")
    assert filtered(tmp_path / "run", f"--input={tmp_path}/a.parquet", "--sample=0.5")[0] == 0
    found = kept(tmp_path / "run")["url"].to_pylist()
    assert 60 < len(found) < 140
    assert all(found.count(url) == 2 for url in set(found))


@pytest.mark.parametrize(
    ("setting", "out"),
    [
        ("*.caption.words.minimum=11", 0),
        ("generic.caption.words.minimum=11", 200),  # the other source keeps its rows
        ("coyo700m.nsfw.score.threshold=0.05", 200),
    ],
)
def test_set_changes_one_source_or_all(
    setting: str, out: int, metadata: Path, tmp_path: Path
) -> None:
    coyo = rows(ROWS, ROWS + 200).rename_columns(["url", "text", "nsfw_score_gantman"])
    pq.write_table(coyo, tmp_path / "coyo.parquet")
    flags = (f"--input={metadata}/a.parquet", f"--input=coyo700m={tmp_path}/coyo.parquet")
    assert filtered(tmp_path / "run", *flags, f"--set={setting}")[0] == 0
    assert jobs.counts(tmp_path / "run")["filter"]["out"] == out


def test_one_source_goes_before_all(metadata: Path, tmp_path: Path) -> None:
    both = ("--set=generic.caption.words.minimum=2", "--set=*.caption.words.minimum=50")
    assert filtered(tmp_path, f"--input={metadata}", *both)[0] == 0
    assert jobs.counts(tmp_path)["filter"]["out"] == ROWS


def test_columns_by_name_whatever_their_casing(tmp_path: Path) -> None:
    odd = rows(0, 20).rename_columns(["Link", "Words", "Score"])
    pq.write_table(odd, tmp_path / "a.parquet")
    columns = "--columns=url=link, caption=WORDS,nsfw_score=Score"
    assert filtered(tmp_path / "run", f"--input={tmp_path}/a.parquet", columns)[0] == 0
    assert urls(tmp_path / "run") == set(odd["Link"].to_pylist())


def test_an_exact_name_beats_another_casing(tmp_path: Path) -> None:
    table = rows(0, 20).append_column("URL", pa.array(["http://other.example.com/"] * 20))
    pq.write_table(table, tmp_path / "a.parquet")
    assert filtered(tmp_path / "run", f"--input={tmp_path}/a.parquet")[0] == 0
    assert urls(tmp_path / "run") == set(table["url"].to_pylist())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["Url", "caption", "URL"],
            "'Url' and 'URL' could both be 'url'; say which with --columns",
        ),
        (["url", "text", "caption"], "'text' and 'caption' could both be 'caption'"),
    ],
)
def test_two_columns_that_could_be_meant(names: list[str], said: str, tmp_path: Path) -> None:
    pq.write_table(rows(0, 5).rename_columns(names), tmp_path / "a.parquet")
    assert said in told(tmp_path / "run", f"--input={tmp_path}/a.parquet")


@pytest.mark.parametrize("how", ["keep", "drop"])
def test_a_source_without_any_safety_score(how: str, tmp_path: Path) -> None:
    pq.write_table(rows(0, 20).drop_columns(["nsfw_score"]), tmp_path / "a.parquet")
    flags = (f"--input={tmp_path}/a.parquet",)
    assert "--nsfw_missing keep or drop" in told(tmp_path / "run", *flags)
    assert filtered(tmp_path / "run", *flags, f"--nsfw_missing={how}")[0] == 0
    line = jobs.counts(tmp_path / "run")["filter"]
    dropped = 20 if how == "drop" else 0
    assert (line["in"], line["left_out"]["nsfw_missing"]) == (20, dropped)


def test_files_with_and_without_scores_are_not_kept_alike(tmp_path: Path) -> None:
    pq.write_table(rows(0, 20).drop_columns(["nsfw_score"]), tmp_path / "a.parquet")
    pq.write_table(rows(20, 20), tmp_path / "b.parquet")
    flags = (f"--input={tmp_path}/*.parquet", "--nsfw_missing=keep")
    assert "1 of the 2 files of source 'generic'" in told(tmp_path / "run", *flags)


def test_nsfw_missing_does_not_touch_a_source_with_scores(metadata: Path, tmp_path: Path) -> None:
    assert filtered(tmp_path, f"--input={metadata}", "--nsfw_missing=drop")[0] == 0
    assert jobs.counts(tmp_path)["filter"]["out"] == ROWS


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("--outptu=x",), "no such option: --outptu; did you mean --output?"),
    (("--shardsize=5",), "did you mean --shard_size?"),
    (("--direct_num_wrkers=2",), "did you mean --direct_num_workers?"),
    (("--zzzzzz",), "no such option: --zzzzzz; see --help and --help_beam"),
    (("b.parquet",), "'b.parquet' belongs to no option; quote globs"),
    (("--out=x",), "no such option: --out"),  # no abbreviations
    (("--workers=2", "--runner=DataflowRunner"), "--workers is for local runs; DataflowRunner"),
    (("--workers=0",), "--workers: 0 is too small"),
    (("--limit=0",), "--limit: 0 is too small"),
    (("--limit=many",), "--limit"),
    (("--sample=1.5",), "--sample: 1.5 is not a share"),
    (("--sample=0",), "--sample: 0 is not a share"),
    (("--max_unreadable=-1",), "--max_unreadable: -1 is negative"),
    (("--lease_s=0",), "--lease_s: 0 is not a time"),
    (("--nsfw_missing=maybe",), "--nsfw_missing: invalid choice: 'maybe'"),
    (("--nsfw_missing=defer",), "invalid choice: 'defer' (choose from 'keep', 'drop')"),
    (("--nsfw_missing=join",), "invalid choice: 'join' (choose from 'keep', 'drop')"),
    (("--metadata_only",), "no such option: --metadata_only; did you mean --stop_after filter?"),
    (("--runner=DaskRunner",), "DaskRunner drops finish_bundle output"),
    (("--runner", "apache_beam.runners.dask.dask_runner.DaskRunner"), "DaskRunner drops"),
    (("--num_tasks=2", "--task_index=2"), "--task_index 2 with --num_tasks 2: give an index"),
    (("--num_tasks=2", "--overwrite"), "--overwrite with --num_tasks"),
    (("--preset=cogvml",), "no preset 'cogvml'; did you mean 'cogvlm'?"),
    (("--set=caption",), "give SOURCE.FILTER.PARAM=VALUE"),
    (("--set=generik.caption.words.minimum=9",), "no source 'generik'; did you mean generic?"),
    (("--set=*.caption.wordz.minimum=9",), "did you mean 'caption.words'?"),
    (("--set=*.caption.words.minimun=9",), "did you mean 'minimum'?"),
    (("--set=*.caption.words.minimum=many",), "many"),
    (("--columns=urll=link",), "'urll' is not a column of ours; did you mean url?"),
    (("--columns=url=link,caption=1",), "either column names or positions"),
    (("--columns=url",), "'url' is not NAME=VALUE"),
    (("--columns=url=link,caption=words",), "needs a column for 'url' (link)"),
    (("--source_rank=coyo",), "did you mean coyo700m?"),
    (("--encode_quality=400",), "--encode_quality 400: must be 1..100"),
    (("--host_rate=a=b",), "--host_rate a=b: 'b' is not a number"),
    (("--dns_servers=nowhere",), "'nowhere' does not appear to be"),
    (("--allow_address=10.0.0/99",), "10.0.0/99"),
    (("--fetch_engine=img2dataset",), "--i_trust_these_urls"),
]


@pytest.mark.parametrize(
    ("flags", "said"), MISTAKES, ids=[" ".join(flags) for flags, _ in MISTAKES]
)
def test_a_mistake_is_told_in_one_line(
    flags: tuple[str, ...], said: str, metadata: Path, tmp_path: Path
) -> None:
    assert said in told(tmp_path / "run", f"--input={metadata}", *flags)


def test_a_runner_that_nobody_knows(metadata: Path, tmp_path: Path) -> None:
    code, errors = filtered(tmp_path, f"--input={metadata}", "--runner=Nonsense")
    assert code == 2 and "Nonsense. Valid values are" in errors
    assert filtered(tmp_path, f"--input={metadata}")[0] == 0  # the same run goes on


def test_one_file_named_twice(metadata: Path, tmp_path: Path) -> None:
    twice = (f"--input={metadata}/a.parquet", f"--input={metadata}/*.parquet")
    assert "a.parquet is named twice" in told(tmp_path / "run", *twice)


@pytest.mark.parametrize("runner", ["FnApiRunner", "DirectRunner", "directrunner"])
def test_local_runners_are_one(runner: str, metadata: Path, tmp_path: Path) -> None:
    flags = (f"--runner={runner}", "--workers=2", "--worker_mode=threads")
    assert filtered(tmp_path / "run", f"--input={metadata}", *flags)[0] == 0
    assert filtered(tmp_path / "plain", f"--input={metadata}")[0] == 0
    assert jobs.covered(tmp_path / "run") == jobs.covered(tmp_path / "plain")


@pytest.mark.parametrize("there", [False, True])
def test_dry_run_writes_nothing(
    there: bool, metadata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    if there:
        assert filtered(output, f"--input={metadata}")[0] == 0
    before = _everything(tmp_path)
    capsys.readouterr()
    assert filtered(output, f"--input={metadata}", "--dry_run")[0] == 0
    assert _everything(tmp_path) == before
    shown = capsys.readouterr().out
    assert "2 files" in shown and "400 rows" in shown
    assert f"stages planned before: {'filter' if there else 'none'}" in shown


def test_options_that_change_the_output_say_so() -> None:
    """Whoever adds an option must decide; these are the ones that change nothing."""
    launch = {option.name for option in JOB_OPTIONS if option.stage == "launch"}
    assert not any(option.affects_output for option in JOB_OPTIONS if option.stage == "launch")
    assert all(option.affects_output for option in JOB_OPTIONS if option.stage != "launch")
    assert {"workers", "worker_mode", "num_tasks", "task_index", "lease_s", "output"} <= launch
    assert not {"seed", "input", "limit", "sample", "shard_size", "store"} & launch


def test_a_launch_option_continues_the_same_run(metadata: Path, tmp_path: Path) -> None:
    assert filtered(tmp_path, f"--input={metadata}")[0] == 0
    other = ("--connections=3", "--retries=0", "--lease_s=5", "--user_agent=me", "--workers=2")
    assert filtered(tmp_path, f"--input={metadata}", *other, "--worker_mode=threads")[0] == 0


@pytest.mark.parametrize(
    "flag",
    ["--limit=7", "--sample=0.5", "--funnel=first", "--rejects=none", "--preset=none"],
)
def test_an_output_option_makes_another_run(flag: str, metadata: Path, tmp_path: Path) -> None:
    assert filtered(tmp_path, f"--input={metadata}")[0] == 0
    code, errors = filtered(tmp_path, f"--input={metadata}", flag)
    assert code == 2 and "holds another run (filter stage)" in errors


def test_later_stages_have_their_own_options(tmp_path: Path) -> None:
    """A stopped run takes other options for stages that it has not planned yet."""
    pq.write_table(rows(0, 30), tmp_path / "a.parquet")
    flags = [f"--input={tmp_path}/a.parquet", f"--output={tmp_path / 'run'}"]
    assert jobs.run([*flags, "--stop_after=filter"])[0] == 0
    assert jobs.run([*flags, "--stop_after=mix", "--shard_size=7"])[0] == 0
    code, errors = jobs.run([*flags, "--stop_after=mix", "--shard_size=8"])
    assert code == 2 and "holds another run (mix stage): shard rows: was 7, now 8" in errors


def _everything(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): (
            os.stat(path).st_mtime_ns,
            path.is_dir() or path.read_bytes(),
        )
        for path in folder.rglob("*")
    }
