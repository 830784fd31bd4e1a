"""The portable options run a pipeline to its end, and fail with what the pipeline raised."""

from __future__ import annotations

import operator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from helpers.pipelines.portable import portable_options


def test_a_pipeline_runs(tmp_path: Path) -> None:
    with beam.Pipeline(options=PipelineOptions(portable_options())) as pipeline:
        texts = pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle() | beam.Map(str)
        texts | beam.Map(tmp_path.joinpath) | beam.Map(Path.touch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_an_error_is_an_error() -> None:
    with (
        pytest.raises(Exception, match="division by zero"),
        beam.Pipeline(options=PipelineOptions(portable_options())) as pipeline,
    ):
        pipeline | beam.Create([0]) | beam.Map(lambda number: operator.truediv(1, number))
