"""Where the real sample data lies, for tests that need more than generated input."""

from __future__ import annotations

import os
from pathlib import Path


def shared_data() -> Path | None:
    """Return the folder of real data, from GROUNDWORK_SHARED_DATA or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GROUNDWORK_SHARED_DATA", beside))
    return folder if folder.is_dir() else None
