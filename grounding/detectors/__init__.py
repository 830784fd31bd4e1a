"""Detectors besides GLIP: of transformers, and a toy for rendered scenes."""
