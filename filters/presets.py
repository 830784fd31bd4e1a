"""Named chains: which filters, in which order, and where each departs from its paper.

In: a preset's name and text settings (`caption.words.minimum` -> `2`). Out: a `Chain`, and the
rows that help and docs are made of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from filters.aspect import AspectRatio
from filters.base import Filter, is_declared
from filters.caption import (
    CaptionAlnum,
    CaptionChars,
    CaptionPresent,
    CaptionRepetition,
    CaptionWords,
)
from filters.caption_noise import (
    CaptionBoilerplate,
    CaptionContact,
    CaptionDate,
    CaptionFileName,
    CaptionHash,
    CaptionUrl,
)
from filters.chain import Chain
from filters.nsfw import NsfwPresent, NsfwScore, NsfwTag
from filters.parameters import ParameterInfo, build_filter, parameters_of, suggestion
from filters.political import PoliticalLexicon
from filters.text import TextValid
from filters.url import (
    UrlCredentials,
    UrlForm,
    UrlHost,
    UrlLength,
    UrlPort,
    UrlPresent,
    UrlScheme,
    UrlTrackingPixel,
)

FAMILIES: dict[str, tuple[type[Filter], ...]] = {
    "text": (TextValid,),
    "url": (
        UrlPresent,
        UrlScheme,
        UrlCredentials,
        UrlHost,
        UrlPort,
        UrlForm,
        UrlLength,
        UrlTrackingPixel,
    ),
    "nsfw": (NsfwScore, NsfwTag, NsfwPresent),
    "aspect": (AspectRatio,),
    "caption": (
        CaptionPresent,
        CaptionBoilerplate,
        CaptionHash,
        CaptionUrl,
        CaptionFileName,
        CaptionDate,
        CaptionChars,
        CaptionWords,
        CaptionAlnum,
        CaptionContact,
        CaptionRepetition,
    ),
    "political": (PoliticalLexicon,),
}
"""The filters of every family, specific and cheap ones first."""

FILTERS: dict[str, type[Filter]] = {f.name: f for family in FAMILIES.values() for f in family}
"""Every filter by name."""

assert all(map(is_declared, FILTERS.values()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A named chain with its honest label."""

    name: str
    summary: str
    families: tuple[str, ...]  # in chain order
    deviations: tuple[str, ...]  # what is the paper's and what is ours, one line each

    def filters(self) -> tuple[type[Filter], ...]:
        """Return the filter classes in chain order."""
        return tuple(f for family in self.families for f in FAMILIES[family])


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="cogvlm",
            summary="What the CogVLM paper says it removes, with thresholds of ours shown as ours.",
            families=("text", "url", "nsfw", "aspect", "caption", "political"),
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
            families=("text", "url"),
            deviations=("ours: no paper; every row that can be fetched is kept",),
        ),
    )
}
"""Every preset by name."""


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
        raise ValueError(f"there is no preset {name!r}; {_nearest(name, PRESETS)}")
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
    classes = get_preset(preset).filters()
    per_filter: dict[str, dict[str, str]] = {f.name: {} for f in classes}
    for key, text in (settings or {}).items():
        filter_name, _, parameter_name = key.rpartition(".")
        if filter_name not in FILTERS:
            raise ValueError(
                f"there is no filter {filter_name!r}; {_nearest(filter_name, FILTERS)}"
            )
        if filter_name not in per_filter:
            raise ValueError(f"preset {preset!r} does not use {filter_name!r}; drop {key!r}")
        per_filter[filter_name][parameter_name] = text
    return Chain([build_filter(f, per_filter[f.name]) for f in classes])


def describe(preset: str | None = None) -> list[Description]:
    """Describe the filters of a preset in chain order, or all filters."""
    classes: Sequence[type[Filter]] = (
        tuple(FILTERS.values()) if preset is None else get_preset(preset).filters()
    )
    return [_description(f) for f in classes]


def _description(one: type[Filter]) -> Description:
    parameters = tuple(parameters_of(one))
    policy = next((str(p.default) for p in parameters if p.name == "on_missing"), None)
    return Description(
        one.name, one.summary, one.reasons, parameters, policy, one.safety, one.origin
    )


def _nearest(wrong: str, known: Mapping[str, object]) -> str:
    hint = suggestion(wrong, known)
    return hint.replace("it has", "there are")
