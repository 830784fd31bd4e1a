"""Named chains: which filters, in which order, and where each departs from its paper.

In: a preset's name and text settings (`caption.words.minimum` -> `2`). Out: a `Chain`, and the
rows that help and docs are made of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from filters.base import Filter
from filters.chain import Chain
from filters.parameters import ParameterInfo, build_filter, parameters_of, suggestion
from filters.registry import FILTERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A named chain with its honest label."""

    name: str
    summary: str
    rules: tuple[str, ...]  # names in chain order
    deviations: tuple[str, ...]  # what is the paper's and what is ours, one line each

    def filters(self) -> tuple[type[Filter], ...]:
        """Return the filter classes in chain order.

        Raises:
            ValueError: the preset names a rule that does not exist.
        """
        return tuple(_rule(name) for name in self.rules)


_FETCHABLE = (
    "text.valid",
    "url.present",
    "url.scheme",
    "url.credentials",
    "url.host",
    "url.port",
    "url.form",
    "url.length",
    "url.tracking_pixel",
)
"""What makes a row unusable. Specific reasons stand before general ones: the first owns the row."""

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="cogvlm",
            summary="What the CogVLM paper says it removes, with our thresholds marked as ours.",
            rules=(
                *_FETCHABLE,
                "nsfw.score",
                "nsfw.tag",
                "nsfw.present",
                "aspect.ratio",
                "caption.present",
                "caption.boilerplate",
                "caption.hash",
                "caption.url",
                "caption.file_name",
                "caption.date",
                "caption.chars",
                "caption.words",
                "caption.alnum",
                "caption.contact",
                "caption.repetition",
                "political.lexicon",
            ),
            deviations=(
                "paper: aspect ratio above 6 or below 1/6 is removed; 6 itself is kept here",
                "ours: where the paper removes broken URLs, also URLs that must not be fetched",
                "ours: the NSFW threshold 0.5, the tags NSFW and UNSURE, dropping unscored rows",
                "ours: every caption rule and threshold; the paper says noisy captions, no more",
                "ours: the political lexicon, on captions only; the paper gives no recipe",
                "left out, the paper is silent: similarity, language, caption frequency,"
                + " minimum side, watermark, aesthetics",
            ),
        ),
        Preset(
            name="none",
            summary="Only what makes a row unusable: text that is not UTF-8, URLs not to fetch.",
            rules=_FETCHABLE,
            deviations=("ours: no paper; every row that can be fetched is kept",),
        ),
    )
}
"""Every preset by name. A preset names its rules one by one: a new rule joins none by itself."""


@dataclasses.dataclass(frozen=True)
class Description:
    """One filter as help and docs show it."""

    name: str
    summary: str
    reasons: tuple[str, ...]
    parameters: tuple[ParameterInfo, ...]
    on_missing: str | None  # default policy, None where nothing can be missing
    safety: bool
    origin: str  # "paper" or "ours"


def get_preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; {suggestion(name, PRESETS)}")
    return PRESETS[name]


def build_chain(preset: str, settings: Mapping[str, str] | None = None) -> Chain:
    """Build the chain of a preset.

    Args:
        preset: name of the preset.
        settings: `filter.parameter` -> value as text, e.g. `{"nsfw.score.threshold": "0.45"}`.

    Raises:
        ValueError: an unknown preset, filter or parameter, a filter that the preset does not
            use, or a value that does not fit.
    """
    rules = get_preset(preset).filters()
    per_rule: dict[str, dict[str, str]] = {rule.name: {} for rule in rules}
    for key, text in (settings or {}).items():
        filter_name, _, parameter_name = key.rpartition(".")
        if _rule(filter_name).name not in per_rule:
            raise ValueError(f"preset {preset!r} does not use {filter_name!r}; leave out {key!r}")
        per_rule[filter_name][parameter_name] = text
    return Chain([build_filter(rule, per_rule[rule.name]) for rule in rules])


def describe(preset: str | None = None) -> list[Description]:
    """Describe the filters of a preset in chain order, or all filters."""
    rules: Iterable[type[Filter]] = (
        FILTERS.values() if preset is None else get_preset(preset).filters()
    )
    return [_description(rule) for rule in rules]


def _description(rule: type[Filter]) -> Description:
    parameters = tuple(parameters_of(rule))
    policy = next((str(p.default) for p in parameters if p.name == "on_missing"), None)
    return Description(
        rule.name, rule.summary, rule.reasons, parameters, policy, rule.safety, rule.origin
    )


def _rule(name: str) -> type[Filter]:
    if name not in FILTERS:
        raise ValueError(f"there is no filter {name!r}; {suggestion(name, FILTERS)}")
    return FILTERS[name]
