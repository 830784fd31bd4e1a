"""The named models, and changes to them; `variants` has their sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cogvlm.model import variants
from cogvlm.model.config import ModelConfig
from cogvlm.model.variants import Variant
from shards.declarations import declared
from shards.suggest import suggest

PRESETS: Mapping[str, Variant] = declared(variants, "VARIANTS", Variant)


def preset(name: str) -> ModelConfig:
    """Return a named config.

    Raises:
        ValueError: The name is unknown; says the nearest or all.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model preset {name!r}; {suggest(name, PRESETS)}")
    return PRESETS[name].config()


def overridden(model: ModelConfig, settings: Sequence[str]) -> ModelConfig:
    """Return a config with settings such as `expert.layers=4` or `attn.image_mask=full`.

    Raises:
        ValueError: A setting is unknown or has a value that it cannot have.
    """
    data = model.to_json()
    for setting in settings:
        path, equals, text = setting.partition("=")
        *outer, name = path.split(".")
        inner: Any = data
        for part in outer:
            inner = inner.get(part) if isinstance(inner, dict) else None
        if not equals or not isinstance(inner, dict) or name not in inner:
            raise ValueError(
                f"--override {setting}: write NAME=VALUE with a name of docs/model_settings.md"
            )
        try:
            inner[name] = json.loads(text)
        except ValueError:
            inner[name] = text
    return ModelConfig.from_json(data)
