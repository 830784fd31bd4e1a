"""What `examples.ablate` compares: webs of scenes, how each is filtered, and which arm uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from examples import noise
from examples.noise import Noisy
from examples.pointing import small_scene
from examples.scenes import Scene


@dataclass(frozen=True, kw_only=True)
class Data:
    """A web of scenes and how it is filtered and grounded."""

    make: Callable[[int], Noisy]
    rows: float  # of metadata per wanted sample, a few more than needed
    preset: str = "cogvlm"
    ground: str = ""  # settings of the grounding job
    keep_ambiguous: bool = False


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train."""

    name: str
    data: str
    rows_of: str = ""  # data whose number of rows it has; "": as many as needed
    override: str = ""  # of model settings
    flags: str = ""
    held_out: str = "held-out"
    repeated: bool = False  # trained with every seed; the others only with the first


def three_shapes(number: int) -> Scene:
    """Return a scene with three shapes of different kinds."""
    return small_scene(number, counts=(3,))


def _clean(number: int) -> Noisy:
    return noise.truth(small_scene(number))


def _three(number: int) -> Noisy:
    return noise.truth(three_shapes(number))


DATA = {
    "clean": Data(make=_clean, rows=1.01),
    "noisy": Data(
        make=noise.noisy,
        rows=1.1,
        preset="none",
        ground="--score_threshold 0.2",  # the floor below which no box was recorded
        keep_ambiguous=True,
    ),
    "ruled": Data(make=noise.noisy, rows=1.7),
    "three": Data(make=_three, rows=1.01),
}
_NO_EXPERTS = "expert.layers=none"
ARMS = (
    Arm(name="experts", data="clean", repeated=True),
    Arm(name="noisy", data="noisy", repeated=True),
    Arm(name="noisy + rules", data="ruled", repeated=True),
    Arm(name="rules on the same web", data="ruled", rows_of="noisy", repeated=True),
    Arm(name="no experts", data="clean", override=_NO_EXPERTS, repeated=True),
    # The language model and the tower stay as initialised: there are no weights to start from.
    Arm(name="adapter only", data="clean", override=_NO_EXPERTS, flags="--trains adapter boi_eoi"),
    Arm(name="three shapes", data="three", held_out="held-out-three"),
)
