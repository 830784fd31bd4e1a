"""Where the real sample data lies, for tests that need more than generated input."""

from __future__ import annotations

import os
from pathlib import Path

from helpers.paths import ROOT


def shared_data() -> Path | None:
    """Return the folder of real data, from GROUNDWORK_SHARED_DATA or beside the repository."""
    beside = ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("GROUNDWORK_SHARED_DATA", beside))
    return folder if folder.is_dir() else None
