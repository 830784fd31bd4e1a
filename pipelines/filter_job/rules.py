"""Which rules a run applies to each of its sources, and with which thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from filters import Chain, build_chain
from pipelines.filter_job.inputs import Inputs
from pipelines.filter_job.request import FilterRequest
from pipelines.metadata.source import SAFETY_COLUMNS
from pipelines.metadata.sources import resolve
from shards.suggest import nearest

_ALLOW_ADDRESS = ("url.host.allow_addresses", "url.port.allow_addresses")


def rule_settings(request: FilterRequest, inputs: Inputs) -> dict[str, dict[str, str]]:
    """Return, per source, what the options change in the preset: `filter.param` to value."""
    given = _given_settings(request.set, inputs.sources)
    allowed = ",".join(request.allow_address)
    settings = {}
    for name in inputs.sources:
        implied = dict.fromkeys(_ALLOW_ADDRESS, allowed) if allowed else {}
        implied |= _missing_safety(name, inputs, request)
        settings[name] = implied | given.get("*", {}) | given.get(name, {})
    return settings


def build_chains(preset: str, settings: Mapping[str, Mapping[str, str]]) -> dict[str, Chain]:
    """Return each source's rules with the thresholds that apply to it."""
    chains = {name: build_chain(preset, changes) for name, changes in settings.items()}
    for name, chain in chains.items():
        if waiting := chain.undecidable():
            raise ValueError(
                f"--set {name}.{waiting[0]}.on_missing=defer: no later stage can decide this rule; "
                "use keep or drop"
            )
    return chains


def _given_settings(arguments: Sequence[str], sources: Iterable[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    known = ["*", *sources]
    for argument in arguments:
        name, equals, value = argument.partition("=")
        source, dot, parameter = name.partition(".")
        if not equals or not dot or "." not in parameter:
            raise ValueError(f"--set {argument}: give SOURCE.FILTER.PARAM=VALUE, SOURCE may be *")
        if source not in known:
            close = nearest(source, known)
            hint = f"did you mean {close}?" if close else f"this run has {', '.join(known)}"
            raise ValueError(f"--set {argument}: no source {source!r}; {hint}")
        settings.setdefault(source, {})[parameter] = value
    return settings


def _missing_safety(name: str, inputs: Inputs, request: FilterRequest) -> dict[str, str]:
    """Decide about a source without any safety column: never in silence."""
    preset_judges = any(rule.safety for rule in build_chain(request.preset, {}).filters)
    files = [file for file in inputs.files if file.source == name]
    bare = [
        file.path
        for file in files
        if not set(SAFETY_COLUMNS) & resolve(inputs.sources[name], file.columns, file.path).keys()
    ]
    # Another run's rows have the columns whether or not anything ever filled them.
    asked_for_run = name == "run" and request.nsfw_missing is not None
    if not preset_judges or not (bare or asked_for_run):
        return {}
    if request.nsfw_missing is None:
        raise ValueError(
            f"{bare[0]}: source {name!r} has no safety score or tag; say what to do with its "
            "rows: --nsfw_missing keep or drop"
        )
    if bare and len(bare) < len(files) and request.nsfw_missing == "keep":
        raise ValueError(
            f"{bare[0]}: {len(bare)} of the {len(files)} files of source {name!r} have no safety "
            "score or tag; --nsfw_missing keep would keep unscored rows of the others too. Filter "
            "them in a run of their own and bring its rows in with --input run=THAT_OUTPUT"
        )
    return {"nsfw.present.on_missing": request.nsfw_missing}


def decoded_rules(chains: Mapping[str, Chain]) -> Chain:
    """Return the rules that decide on decoded sizes, which must agree over all sources."""
    different = {chain.decoded() for chain in chains.values()}
    if len(different) > 1:
        raise ValueError(
            "--set: rules that look at the decoded image (aspect.ratio) must be the same for "
            "every source, because a shard mixes sources; use *.aspect.ratio…"
        )
    return next(iter(different), Chain(()))
