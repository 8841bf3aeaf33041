"""What is fastest here: the network in half precision for an attack's gradients, and examples in one pass."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from landscape.attacks.base import ascent
from landscape.data import CHUNK
from landscape.network import Network
from landscape.objective import Objective
from landscape.outputs import logits
from landscape.surfaces.settings import Precision

CLOSE = 0.02
"""Of the range of the outputs, by which half precision may change them."""
WORTH = 0.9
"""Share of the time that fewer examples in a pass must take to be worth it."""
SLOWER = 1.3
"""Times as long as in its own precision that a network may take in half.

This changes the adversaries, and timings are noisy: so it lies where no network does. They take 0.3 to 0.9
times as long, or twice.
"""
SHORT = 5e-3
"""Seconds of a pass below which nothing is timed."""


@dataclass(frozen=True)
class Tuned:
    """How cells are evaluated.

    batch: examples in one pass, as many as the cache holds
    half: whether attacks see the network in bfloat16
    """

    batch: int
    half: bool


class Quick:
    """The network as an attack sees it, in bfloat16 or its own precision; told losses never come from it.

    x: inputs (B, …) like those that it will see
    """

    def __init__(self, network: Network, half: bool, x: Tensor) -> None:
        self.network, self.half, self.folded = network, half, network.folded(x)
        self.module = copy.deepcopy(self.folded.module).to(torch.bfloat16) if half else self.folded.module

    def given(self, parts: list[Tensor], buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """What it takes for these tensors of the network, by name; they are rounded last."""
        found = self.folded.tensors(self.network.given(parts, buffers))
        if not self.half:
            return found
        return {name: t.bfloat16() if t.is_floating_point() else t for name, t in found.items()}

    def __call__(self, given: dict[str, Tensor], x: Tensor) -> Tensor:
        """The logits (B, C), in the network's own type."""
        found = logits(functional_call(self.module, given, (x.bfloat16() if self.half else x,)))
        return found.to(x.dtype)


def tuned(o: Objective, attacked: bool, wanted: Precision) -> Tuned:
    """What a few timings say, on one thread, of a pass over some examples: an attack's gradient or none."""
    able = _able(o.network)
    x, y = o.data.inputs(slice(0, CHUNK), o.network.theta)
    half = attacked and wanted != "full" and (wanted == "bfloat16" or has_half(o.network))
    half = half and bears_half(o.network, x)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first = _seconds(o, x, y, CHUNK, attacked, half)
        if first < SHORT or not able:
            return Tuned(min(CHUNK, o.batch_size), half)
        if half and wanted == "auto" and first > SLOWER * (full := _seconds(o, x, y, CHUNK, attacked, False)):
            half, first = False, full
        fewer = [b for b in (64, 32) if _alike(o, x, y, b, attacked, half)]
        times = {CHUNK: WORTH * first} | {b: _seconds(o, x, y, b, attacked, half) for b in fewer}
    finally:
        torch.set_num_threads(threads)
    return Tuned(min(min(times, key=times.__getitem__), o.batch_size), half)


def _alike(o: Objective, x: Tensor, y: Tensor, batch: int, attacked: bool, half: bool) -> bool:
    """Whether passes of so many examples, and of the rest, give the bits of a pass of all x: timings then
    do not decide what comes out."""
    quick, parts = Quick(o.network, half, x), o.network.parts(o.network.theta)
    given = quick.given(parts, {})

    def passed(rows: slice) -> list[Tensor]:
        with torch.no_grad():
            found = [o.network(parts, x[rows], {})]
        if attacked:
            found.append(ascent(lambda moved: o.loss(quick(given, moved), y[rows]), x[rows])[1])
        return found

    whole, n = passed(slice(None)), len(o.data)
    return all(
        torch.equal(one[:size], other)
        for size in {batch, n % batch, n % CHUNK} - {0}
        for one, other in zip(whole, passed(slice(0, size)), strict=True)
    )


def _seconds(o: Objective, x: Tensor, y: Tensor, batch: int, attacked: bool, half: bool) -> float:
    """Of a pass over x, the better of two after a first one."""
    quick = Quick(o.network, half, x)
    given = quick.given(o.network.parts(o.network.theta), {})
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        for rows in (slice(first, first + batch) for first in range(0, len(x), batch)):
            if attacked:
                labels = y[rows]
                ascent(lambda moved: o.loss(quick(given, moved), labels), x[rows])  # noqa: B023
            else:
                with torch.no_grad():
                    quick(given, x[rows])
        taken.append(time.perf_counter() - began)
        if taken[-1] > 1.0:  # a large net: the first is good enough
            break
    return min(taken[1:] or taken)


def _able(network: Network) -> bool:
    return network.theta.dtype == torch.float32 and network.theta.device.type == "cpu"


def has_half(network: Network) -> bool:
    """Whether the processor that a network is on has bfloat16, and the network a wider type to leave."""
    return _able(network) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def bears_half(network: Network, x: Tensor) -> bool:
    """Whether its outputs in half precision, for inputs like x (B, …), are close to its own."""
    quick, parts = Quick(network, True, x), network.parts(network.theta)
    try:
        with torch.no_grad():
            exact, here = network(parts, x[:32]), quick(quick.given(parts, {}), x[:32])
        return bool((here - exact).abs().max() <= CLOSE * (exact.max() - exact.min()))
    except Exception:  # code of the user's own that makes float32 tensors of its own
        return False
