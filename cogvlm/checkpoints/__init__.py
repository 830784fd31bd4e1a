"""Weights on disk: our folders, the official ones, snapshots of runs, and adapters."""
