"""Results as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogvlm.evaluation.evaluation import Result


def lines(result: Result) -> list[str]:
    """Return the table of one evaluation."""
    about = [f"{result.questions:,} questions"]
    about += [f"template {result.template}"] if result.template else []
    about += [f"{result.shots} shots"] if result.shots else []
    lines = [f"{result.task}  {result.data['spec']}  ({', '.join(about)})"]
    lines += [f"  {name:<30}{value:>12}" for name, value in _rows(result.metrics)]
    notes = {
        "unparsable answers, wrong": result.unparsable,
        "prompts too long, wrong": result.unanswered,
        "samples left out": result.skipped,
        "phrases not asked for": result.ambiguous,
    }
    for title, counts in notes.items():
        named = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
        if counts or title.startswith("unparsable"):
            lines.append(f"  {title}: {sum(counts.values()):,}{f' ({named})' if named else ''}")
    return lines


_SHARES = frozenset(
    (
        *("accuracy", "accuracy_per_token", "chance", "recall", "recall_any_words"),
        *("caption_exact", "precision", "f1", "yes_share", "yes_share_of_truth", "anls"),
    )
)


def _rows(metrics: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return names and values of metrics: shares in per cent, numbers as they are."""
    rows: list[tuple[str, str]] = []
    for name, value in metrics.items():
        title = f"{prefix}{name}"
        if isinstance(value, dict):
            rows += _rows(value, f"{title}.")
        elif value is None:
            rows.append((title, "n/a"))
        elif name in _SHARES:
            rows.append((title, f"{100 * value:.2f} %"))
        elif isinstance(value, float):
            rows.append((title, f"{value:.4g}"))
        elif isinstance(value, list):
            rows.append((title, " " + " ".join(f"{number:.2f}" for number in value)))
        else:
            rows.append((title, str(value)))
    return rows


def overlap_lines(shared: Mapping[str, Any]) -> list[str]:
    """Return what is said of evaluated samples that were trained on."""
    lines = [
        f"overlap with the training data: {spec}: {counts['keys_trained_on']:,} of "
        f"{counts['keys']:,} keys, {counts['images_trained_on']:,} of {counts['images']:,} images"
        for spec, counts in shared["shared"].items()
    ]
    if shared["not_there"]:
        lines.append(f"overlap unknown: {', '.join(shared['not_there'])} cannot be opened")
    elif not lines:
        lines.append("overlap with the training data: unknown; name it with --training_data RUN,…")
    return lines
