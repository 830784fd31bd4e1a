"""The page: facts about the runs gathered, put into the template, written.

The same runs in the same state give the same bytes: nothing here asks the clock, and what is
shown of many is chosen by hash.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filters import FILTERS
from pipelines.filter_job.funnel import RuleCount, funnel
from pipelines.filter_job.totals import FilterTotals
from pipelines.report_page import accounts, charts, learning
from pipelines.report_page.accounts import Check, Equation
from pipelines.report_page.grounded import GroundedSample, grounded_sample
from pipelines.report_page.learning import Evaluation, Training
from pipelines.report_page.rejected import Reason, reasons
from pipelines.report_page.runs import ReportedRun, open_run
from pipelines.report_page.samples import KeptSample, kept_sample, read_some
from pipelines.report_page.svg import Svg
from pipelines.report_page.words import number, percent, shown
from pipelines.report_page.yields import Yields, yields
from shards.access import RawSample, SampleError
from shards.files.store import Store

_HERE = Path(__file__).parent

_Shown = TypeVar("_Shown")


@dataclass(frozen=True)
class SourceFunnel:
    """The rules of one source."""

    source: str
    rows: int
    kept: int
    rules: tuple[RuleCount, ...]  # those that rejected anything


@dataclass(frozen=True)
class RunFacts:
    """All that the page says of a run."""

    run: ReportedRun
    equations: tuple[Equation, ...]
    checks: tuple[Check, ...]
    figure: Svg
    funnels: tuple[SourceFunnel, ...]
    kept: tuple[KeptSample, ...]
    grounded: tuple[GroundedSample, ...]
    unusable: tuple[str, ...]  # why chosen samples cannot be shown
    reasons: tuple[Reason, ...]
    yields: Yields | None

    @property
    def holds(self) -> bool:
        """Whether every line adds up and every check is met."""
        adds_up = not any(equation.line.missing for equation in self.equations)
        return adds_up and all(check.holds for check in self.checks)


def write_report(
    runs: Sequence[str],
    output: str | None = None,
    *,
    samples: int = 24,
    training: str | None = None,
    evaluations: Sequence[str] = (),
) -> str:
    """Write the page about a run or a chain of runs; returns where it is.

    Args:
        runs: Finished runs, `OUT@NAME` or img2dataset folders, in the order of the chain.
        output: A file, local, `gs://…` or `s3://…`; None: `report.html` of the last run.
        samples: To show of each run.
        training: Folder of a training run.
        evaluations: Files of `cogvlm.evaluate --json`.

    Raises:
        ValueError: One of these cannot be read, or the page cannot be written there.
    """
    opened = [open_run(spec) for spec in runs]
    store, name = _target(opened[-1], output)
    learnt = None if training is None else learning.training(training)
    results = [entry for path in evaluations for entry in learning.evaluations(path)]
    page = _render([_facts(run, samples) for run in opened], learnt, results)
    store.write(name, page.encode("utf-8", "replace"))
    return store.url(name)


def _target(last: ReportedRun, output: str | None) -> tuple[Store, str]:
    if output is None:
        return last.store, last.page
    store, name = learning.place(output)
    local = store.local_path(name)
    if local is not None and os.path.isdir(local):
        raise ValueError(f"--output {output} is a folder; name a file in it")
    return store, name


def _facts(run: ReportedRun, samples: int) -> RunFacts:
    equations = accounts.equations(run)
    lines = [equation.line for equation in equations]
    totals, of_markers = accounts.filter_totals(run, lines)
    unusable: list[str] = []
    raws = _usable(run, samples, unusable)
    is_grounded = run.dataset is not None and run.dataset.level == "grounded"
    return RunFacts(
        run=run,
        equations=tuple(equations),
        checks=(*accounts.checks(run, lines), *of_markers),
        figure=charts.funnel(equations),
        funnels=() if totals is None else tuple(_funnels(run, totals)),
        kept=() if is_grounded else _each(raws, kept_sample, unusable),
        grounded=_each(raws, grounded_sample, unusable) if is_grounded else (),
        unusable=tuple(unusable),
        reasons=tuple(reason for line in lines for reason in reasons(run, line)),
        yields=yields(run),
    )


def _usable(run: ReportedRun, samples: int, unusable: list[str]) -> Iterator[RawSample]:
    """Yield the chosen samples, and note those that cannot be read."""
    for raw in () if run.dataset is None else read_some(run.dataset, samples):
        if isinstance(raw, SampleError):
            unusable.append(shown(str(raw)))
        else:
            yield raw


def _each(
    raws: Iterable[RawSample], show: Callable[[RawSample], _Shown], unusable: list[str]
) -> tuple[_Shown, ...]:
    pictures = []
    for raw in raws:
        try:
            pictures.append(show(raw))
        except ValueError as error:
            unusable.append(shown(str(error)))
    return tuple(pictures)


def _funnels(run: ReportedRun, totals: FilterTotals) -> Iterator[SourceFunnel]:
    for source, counts in sorted(totals.by_source.items()):
        names = [rule["name"] for rule in run.recorded.get("rules", {}).get(source, ())]
        rules = funnel(counts, [FILTERS[name] for name in names if name in FILTERS])
        rejecting = tuple(rule for rule in rules if rule.here or rule.alone)
        yield SourceFunnel(shown(source), counts.rows, counts.kept, rejecting)


def _links(facts: Sequence[RunFacts]) -> list[Check]:
    """Say of every run but the first whether it was made from the one before."""
    return [
        accounts.link(before.run, after.run, [equation.line for equation in after.equations])
        for before, after in itertools.pairwise(facts)
    ]


def _render(
    facts: Sequence[RunFacts], training: Training | None, evaluations: Sequence[Evaluation]
) -> str:
    try:
        import jinja2
    except ImportError:
        raise ValueError("jinja2 is not installed; pip install 'groundwork-vl[launch]'") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "shown": shown}
    environment.globals |= {"percent": percent}
    links = _links(facts)
    return environment.get_template("page.html.j2").render(
        title=", ".join(fact.run.name for fact in facts),
        runs=facts,
        links=links,
        holds=all(fact.holds for fact in facts) and all(link.holds is not False for link in links),
        training=training,
        evaluations=evaluations,
    )
