"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A slow example on a busy machine is not a failure; a test that hangs ends at pytest's time limit.
settings.register_profile("groundwork", deadline=None)
settings.load_profile("groundwork")
