"""Comparisons of floats that come out alike on every processor.

How a float32 sum is rounded depends on the processor, on its instruction set and on the number of
threads, so two float32 runs have no bound on their distance that is both tight and safe. A property
of our own code is therefore tested in float64 (`in_float64`), where rounding is many orders below
`CLOSE`. A tensor that the official code made in float32 is compared with a float64 run of our model
(`assert_as_exact`): ours has to come as near to it as the official one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CLOSE = {"rtol": 0, "atol": 1e-10}
FLOOR_ULP = 4

Named = dict[str, Tensor]


class _WiderFloat(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        if function in (torch.Tensor.to, torch.arange):
            args = tuple(_wider(value) for value in args)
            kwargs = {name: _wider(value) for name, value in kwargs.items()}
        return function(*args, **kwargs)


def _wider(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def in_float64() -> Iterator[None]:
    """Compute in float64 what asks for float32; a context or a decorator.

    The models name float32 where bfloat16 is too coarse: norms, rotation, logits, deformable
    convolutions. `x.float()`, `x.to(torch.float32)` and `arange(dtype=torch.float32)` mean float64
    here, and a new tensor of no stated type is float64. What was made before, or read from a file,
    keeps its type: call `double()` on it.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _WiderFloat():
            yield
    finally:
        torch.set_default_dtype(before)


def assert_as_exact(
    actual: Named,
    golden: Mapping[str, Tensor],
    exact: Named,
    *,
    most: float = 2e-5,
    ratio: float = 1.5,
) -> None:
    """Fail where ours is further from the float64 run than 1.5 times the official run is.

    How far a run is, is the root mean square of the differences in its worst tensor: over one
    tensor of few elements, or by the worst element, the ratio of two equally good runs is chance.
    Where the official run happens to be exact, `FLOOR_ULP` float32 steps are allowed.

    Besides, no element of either run may be off by more than `most`.

    Args:
        actual: The tensors of our float32 run.
        golden: The official code's, with the same names; others are not looked at.
        exact: Our float64 run. Tables that the official code rounds to float32 by design (the
            cosines of the rotation) stay float32 in it, or their rounding would hide all else.
        most: In the unit of the tensors.
        ratio: What is allowed in place of 1.5.
    """
    assert actual.keys() == exact.keys()
    for name, wide in exact.items():
        assert wide.dtype == torch.float64, f"the exact {name} is {wide.dtype}"
        assert actual[name].shape == golden[name].shape == wide.shape, name
        for whose, run in (("official", golden), ("our", actual)):
            worst = float((run[name] - wide).abs().max())
            assert worst <= most, f"{whose} {name} is {worst:.2e} off; {most:.0e} is allowed"
    ours, official = (_worst_distance(run, exact) for run in (actual, golden))
    floor = FLOOR_ULP * torch.finfo(torch.float32).eps * max(map(_rms, exact.values()))
    allowed = max(ratio * official, floor)
    assert ours <= allowed, (
        f"{', '.join(exact)}: ours is {ours:.2e} from the float64 run and the official one "
        f"{official:.2e}; {allowed:.2e} is allowed"
    )


def _worst_distance(run: Mapping[str, Tensor], exact: Named) -> float:
    return max(_rms(run[name] - wide) for name, wide in exact.items())


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())
