"""Benchmarks against the tools that people would use instead; `python -m benchmarks` runs them."""
