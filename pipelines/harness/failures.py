"""What a runner's failure means to the person who started the job.

A worker's error reaches the launcher as text: of a RuntimeError, or of a service's message
that tells it inside a traceback. In: that text. Out: the one line that says what to do.
"""

from __future__ import annotations

import re

_MENDABLE = re.compile(
    r"^(?:RuntimeError: )?"
    r"(?:ValueError|[\w.]*\.(?:UnreadableError|NetworkUnhealthy|ClaimVoidError)): (.*?)"
    r"(?: \[while running '.*)?$",
    re.MULTILINE,
)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: .+$", re.MULTILINE)


class JobFailedError(RuntimeError):
    """A remote runner gave up on a stage's job.

    Args:
        stage: The stage.
        text: What the runner says about it: a sentence, or the end of a worker's traceback.
    """

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(
            f"the {stage} job failed: {_gist(text)}; the runner's messages say more. What is done "
            "is kept: run the same command again to go on"
        )
        self.text = text


def mendable(text: str) -> str | None:
    """Return what the user can mend, as the worker put it; None where it is no such error."""
    found = _MENDABLE.findall(text)
    return found[-1] if found else None


def _gist(text: str) -> str:
    """Return the last exception of a text; services add lines about themselves below it."""
    lines = _EXCEPTION.findall(text) or text.strip().splitlines() or ["no reason given"]
    return str(lines[-1]).split(" [while running")[0]
