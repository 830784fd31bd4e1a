"""GLIP v1 in plain PyTorch and torchvision.

    from grounding.glip.detector import GlipDetector
    detector = GlipDetector("glip_tiny.pth", vocab="vocab.txt")

- `config`: sizes of the variants, thresholds. `model`: the whole, of `swin`, `pyramid`, `text`,
  `fusion`, `deform`, `dyhead`.
- `load`: checkpoints of the authors and of mmdetection.
- `preprocess`, `spans`: images and captions to tensors. `anchors`, `postprocess`: tensors to boxes.
- `detector`, made of a `source` with `options`: all of it behind `grounding.detector.Detector`.

Nothing is imported here, as all but `config`, `options` and `spans` need torch.
"""
