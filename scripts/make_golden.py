"""Writes the golden files that are derived from declarations: `python -m scripts.make_golden`.

`tests/golden/train_presets.json` holds every training preset as it runs without flags. A test
compares; look at the difference before it is committed, since it changes what users' runs do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cogvlm.training.presets import RECIPES, resolve

TRAIN_PRESETS = Path(__file__).resolve().parents[1] / "tests" / "golden" / "train_presets.json"


def train_presets() -> str:
    """Return all training presets as JSON, sorted by name and field."""
    configs = {}
    for name, make in RECIPES.items():
        config, _ = resolve(make(), make().config)
        configs[name] = config.to_json()
    return json.dumps(configs, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write every golden file."""
    TRAIN_PRESETS.write_text(train_presets(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
