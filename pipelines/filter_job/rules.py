"""Which rules a run applies to each of its sources, and with which thresholds."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence

from filters import Chain, build_chain
from pipelines.filter_job.inputs import Inputs
from pipelines.metadata.source import SAFETY_COLUMNS
from pipelines.metadata.sources import resolve

_ALLOW_ADDRESS = ("url.host.allow_addresses", "url.port.allow_addresses")


def rule_settings(values: argparse.Namespace, inputs: Inputs) -> dict[str, dict[str, str]]:
    """Return, per source, what the options change in the preset: `filter.param` to value."""
    settings = _settings(values.set, inputs.sources)
    allowed = ",".join(values.allow_address)
    found = {}
    for name in inputs.sources:
        mine = dict.fromkeys(_ALLOW_ADDRESS, allowed) if allowed else {}
        mine |= _missing_safety(name, inputs, values)
        found[name] = mine | settings.get("*", {}) | settings.get(name, {})
    return found


def build_chains(preset: str, settings: Mapping[str, Mapping[str, str]]) -> dict[str, Chain]:
    """Return each source's rules with the thresholds that apply to it."""
    chains = {name: build_chain(preset, mine) for name, mine in settings.items()}
    for name, chain in chains.items():
        if waiting := chain.undecidable():
            raise ValueError(
                f"--set {name}.{waiting[0]}.on_missing=defer: no later stage can decide this rule; "
                "use keep or drop"
            )
    return chains


def _settings(arguments: Sequence[str], sources: Iterable[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    known = ["*", *sources]
    for argument in arguments:
        name, equals, value = argument.partition("=")
        source, dot, parameter = name.partition(".")
        if not equals or not dot or "." not in parameter:
            raise ValueError(f"--set {argument}: give SOURCE.FILTER.PARAM=VALUE, SOURCE may be *")
        if source not in known:
            close = difflib.get_close_matches(source, known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; this run has {', '.join(known)}"
            raise ValueError(f"--set {argument}: no source {source!r}{hint}")
        settings.setdefault(source, {})[parameter] = value
    return settings


def _missing_safety(name: str, inputs: Inputs, values: argparse.Namespace) -> dict[str, str]:
    """Decide about a source without any safety column: never in silence."""
    preset_judges = any(each.safety for each in build_chain(values.preset, {}).filters)
    mine = [file for file in inputs.files if file.source == name]
    bare = [
        file.path
        for file in mine
        if not set(SAFETY_COLUMNS) & resolve(inputs.sources[name], file.columns, file.path).keys()
    ]
    # Another run's rows have the columns whether or not anything ever filled them.
    asked_for_run = name == "run" and values.nsfw_missing is not None
    if not preset_judges or not (bare or asked_for_run):
        return {}
    if values.nsfw_missing is None:
        raise ValueError(
            f"{bare[0]}: source {name!r} has no safety score or tag; say what to do with its "
            "rows: --nsfw_missing keep or drop"
        )
    if values.nsfw_missing in ("defer", "join"):
        what = "a scorer" if values.nsfw_missing == "defer" else "joining scores by URL"
        raise ValueError(
            f"--nsfw_missing {values.nsfw_missing}: {what} is not available yet, so no stage "
            "could decide; use keep or drop"
        )
    if bare and len(bare) < len(mine) and values.nsfw_missing == "keep":
        raise ValueError(
            f"{bare[0]}: {len(bare)} of the {len(mine)} files of source {name!r} have no safety "
            "score or tag; --nsfw_missing keep would keep unscored rows of the others too. Filter "
            "them in a run of their own and bring its rows in with --input run=THAT_OUTPUT"
        )
    return {"nsfw.present.on_missing": values.nsfw_missing}


def decoded_rules(chains: Mapping[str, Chain]) -> Chain:
    """Return the rules that decide on decoded sizes, which must agree over all sources."""
    different = {chain.decoded() for chain in chains.values()}
    if len(different) > 1:
        raise ValueError(
            "--set: rules that look at the decoded image (aspect.ratio) must be the same for "
            "every source, because a shard mixes sources; use *.aspect.ratio…"
        )
    return next(iter(different), Chain(()))
