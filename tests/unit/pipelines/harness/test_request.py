"""A request holds every option that changes the output, and comes back from `run.json` the same."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.download_job.request import StoreRequest
from pipelines.filter_job.options import JOB_OPTIONS
from pipelines.filter_job.request import FilterRequest
from pipelines.ground_job.options import GROUND_OPTIONS
from pipelines.ground_job.request import GroundRequest
from pipelines.harness.options import Option
from pipelines.harness.parsing import build_parser, parse
from pipelines.harness.request import Request

JOBS = [
    (
        FilterRequest,
        JOB_OPTIONS,
        ["--input=coyo700m=a.parquet", "--input=b", "--set=*.caption.words.minimum=3", "--seed=4"],
    ),
    (GroundRequest, GROUND_OPTIONS, ["--input=run@best", "--detector=blobs", "--whole_image=0.9"]),
]
each_job = pytest.mark.parametrize(
    ("kind", "options", "argv"), JOBS, ids=[kind.__name__ for kind, _, _ in JOBS]
)


def request_of(kind: type[Request], options: tuple[Option, ...], argv: list[str]) -> Request:
    return kind.of(vars(parse(build_parser("x", "", options), argv, options).values))


@each_job
def test_it_has_a_field_for_every_option_that_changes_the_output(
    kind: type[Request], options: tuple[Option, ...], argv: list[str]
) -> None:
    names = {field.name for field in fields(kind)}
    assert {option.name for option in options if option.affects_output} <= names
    assert names <= {option.name for option in options}


@each_job
def test_it_comes_back_from_json(
    kind: type[Request], options: tuple[Option, ...], argv: list[str]
) -> None:
    request = request_of(kind, options, argv)
    recorded = json.loads(json.dumps(request.recorded(options)))
    assert recorded == request.recorded(options), "lists, so that facts compare equal"
    assert recorded.keys() == {option.name for option in options if option.affects_output}
    defaults = vars(build_parser("x", "", options).parse_args([]))
    assert kind.of({**defaults, **recorded}) == request


def test_it_takes_no_other_value_later() -> None:
    request = request_of(*JOBS[0])
    with pytest.raises(FrozenInstanceError):
        request.seed = 5  # type: ignore[attr-defined]


def test_lists_are_tuples_in_it_and_lists_in_what_is_recorded() -> None:
    request = request_of(*JOBS[0])
    assert request.input == ("coyo700m=a.parquet", "b")  # type: ignore[attr-defined]
    assert request.recorded(JOB_OPTIONS)["input"] == ["coyo700m=a.parquet", "b"]
    assert "input" not in request.recorded(JOB_OPTIONS, leave_out=["input"])


def test_a_missing_option_is_named_with_the_file() -> None:
    values = {option.name: option.default for option in DOWNLOAD_OPTIONS}
    del values["max_pixels"]
    with pytest.raises(
        ValueError, match=r"^out/run\.json has no value for max_pixels, so .* start"
    ):
        StoreRequest.of(values, "out/run.json")
