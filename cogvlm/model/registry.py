"""The declared image towers and chat templates by name. Importing this module is free."""

from __future__ import annotations

from collections.abc import Mapping

from cogvlm.model import templates, towers
from cogvlm.model.templates import Template
from cogvlm.model.towers import Tower
from shards.declarations import declared

TOWERS: Mapping[str, Tower] = declared(towers, "TOWERS", Tower)
TEMPLATES: Mapping[str, Template] = declared(templates, "TEMPLATES", Template)
