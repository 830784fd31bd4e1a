"""What `python -m cogvlm.evaluate` is made of.

- `answers`, `boxes`, `cider`: metrics as pure functions; no torch, no files.
- `questions`, `prompts`: what is asked of stored samples, and how.
- `scoring`: answers to numbers. `answering`, `generated`: a model's answers.
- `overlap`: evaluation images that were trained on.
- `verify`: the official grounding model against its published number.
"""
