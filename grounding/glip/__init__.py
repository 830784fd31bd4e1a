"""GLIP v1 in plain PyTorch; see `model` and `load`."""
