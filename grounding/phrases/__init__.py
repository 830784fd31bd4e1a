"""Captions to phrases: noun chunks, heads and referring expressions, by spaCy or a lexicon."""
