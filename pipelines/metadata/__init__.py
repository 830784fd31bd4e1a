"""Metadata of any corpus: its files found and described, its rows read in the canonical schema."""
