"""The pages on adding a rule, a source and a pack format: their examples work as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.extending import example
from helpers.paths import ROOT
from helpers.pipelines import corpora
from helpers.pipelines.set_files import lines, pictures

PACKAGES = ("shards", "filters", "grounding", "pipelines")

APPLY = """
import filters
import pyarrow as pa

print(filters.FILTERS["caption.shouting"].summary)
table = pa.table({
    "url": ["https://images.example.com/1.jpg", "https://images.example.com/2.jpg"],
    "caption": ["TWO OLD BOATS", "Two old boats"],
    "width": pa.array([640, 640], pa.int32()),
    "height": pa.array([480, 480], pa.int32()),
    "nsfw_score": pa.array([0.1, 0.1], pa.float32()),
    "nsfw_tag": pa.nulls(2, pa.string()),
})
print(filters.apply(table, "cogvlm").reason_lists().to_pylist())
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the packages, to which an example can be added as the page says."""
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "tree" / name, ignore=ignored)
    return tmp_path / "tree"


def python(tree: Path, *arguments: object) -> str:
    """Run Python on the copied packages and return what it printed; it must succeed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rule_rejects_once_a_preset_names_it(tree: Path) -> None:
    (tree / "filters/rules/shouting.py").write_text(example("filter"))
    summary = "The caption is not in capital letters only."
    assert python(tree, "-c", APPLY).splitlines() == [summary, "[[], []]"]
    presets = tree / "filters/presets.py"
    text = presets.read_text()
    last = '"political.lexicon",\n'
    assert text.count(last) == 1
    presets.write_text(text.replace(last, f'{last}"caption.shouting",\n'))
    assert python(tree, "-c", APPLY).splitlines() == [summary, "[['caption_shouting'], []]"]


def test_a_source_is_read_by_the_filter_command(tree: Path, tmp_path: Path) -> None:
    (tree / "pipelines/metadata/corpora/crawl.py").write_text(example("source"))
    assert "our_crawl" in python(tree, "-m", "pipelines.filter", "--help")
    table = pa.table(
        {
            "LINK": ["https://images.example.com/1.jpg", "https://images.example.com/2.jpg"],
            "alt": ["Two old boats on a beach", "A lantern on a wall"],
            "w": [640, 640],
            "h": [480, 480],
            "opennsfw2": [0.125, 0.75],
            "page_id": [7, 8],
        }
    )
    pq.write_table(table, tmp_path / "meta.parquet")
    job = ("-m", "pipelines.filter", f"--input=our_crawl={tmp_path}/meta.parquet")
    python(tree, *job, f"--output={tmp_path}/run", "--stop_after=filter", "--workers=1")
    (kept,) = corpora.read_parts(tmp_path / "run", "kept")
    expected = {
        "source": "our_crawl",
        "source_key": "7",
        "url": "https://images.example.com/1.jpg",
        "caption": "Two old boats on a beach",
        "width": 640,
        "height": 480,
        "nsfw_score": 0.125,
    }
    assert kept | expected == kept
    (result,) = corpora.read_results(tmp_path / "run", "filter")
    assert "nsfw" in str(result)


def test_a_format_packs_a_small_set(tree: Path, tmp_path: Path) -> None:
    (tree / "pipelines/pack_job/readers/pairs.py").write_text(example("pack_format"))
    assert "pairs" in python(tree, "-m", "pipelines.pack", "--help")
    images = pictures(tmp_path / "images", ["a.jpg", "b.jpg"])
    records = [
        {"file": "a.jpg", "words": "A red circle."},
        {"file": "b.jpg", "words": "A box."},
        {"file": "b.jpg", "words": None},
    ]
    file = lines(tmp_path / "set.jsonl", records)
    flags = (f"--input={file}", f"--images={images}", f"--output={tmp_path}/run", "--workers=1")
    python(tree, "-m", "pipelines.pack", "--format=pairs", *flags)
    counts = corpora.counts(tmp_path / "run")
    assert counts["read"]["left_out"] == {"record_malformed": 1}
    captions = [row["caption"] for row in corpora.read_parts(tmp_path / "run", "shards")]
    assert sorted(captions) == ["A box.", "A red circle."]
    python(tree, "-m", "pipelines.lint", tmp_path / "run")
