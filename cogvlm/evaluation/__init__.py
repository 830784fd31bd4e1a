"""What `python -m cogvlm.evaluate` is made of.

- `answers`, `boxes`, `cider`: metrics as pure functions; no torch, no files.
- `entries`, `questions`, `prompts`: what is asked of stored samples, and how.
- `model_options`, `subject`: the model that is asked.
- `answering`, `generated`, `pictures`: its answers, and the images it gets.
- `evaluation`, `scoring`, `table`: answers to numbers, and numbers to a table.
- `overlap`: evaluation images that were trained on.
- `verify`: the official grounding model against its published number.
"""
