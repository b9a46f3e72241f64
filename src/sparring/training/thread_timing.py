"""Which number of threads is the fastest, from timed steps, and when to time them again. Reads no clock."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sparring.base.errors import NotFiniteError

LIMIT = 2.0  # seconds for one measurement
BLOCK = 0.04  # seconds of a block of steps: longer than the time slices of an operating system
ROUNDS = 7  # blocks of each number of threads
TOLERANCE = 0.03  # more threads must be faster by at least this share

Steps: TypeAlias = Callable[[int, int, int], float]
"""(threads, first, count): take `count` steps from the step `first` on, and return the seconds that they took."""


@dataclass(frozen=True)
class Present:
    """The number of threads in use, and its seconds per step: those of a quiet machine (`usual`) and the latest."""

    threads: int
    usual: float
    latest: float


def numbers_to_try(cores: int, present: int) -> list[int]:
    """1, 2, 4, ..., all `cores`, and the present number, ascending."""
    return sorted({*(1 << i for i in range((cores - 1).bit_length())), cores, present})


def first_to_try(numbers: Sequence[int], present: Present | None = None) -> int:
    """The number of threads whose first step is timed even if it takes longer than the limit.

    At the start it is one thread, which no other process delays; of more than 8 cores it is about an eighth of them,
    so that a slow step takes no minutes. Later it is the next smaller number than the present one.
    """
    if present is None:
        return max(n for n in numbers if n <= max(1, numbers[-1] // 8))
    return max((n for n in numbers if n < present.threads), default=numbers[min(1, len(numbers) - 1)])


def time_numbers(
    run: Steps, numbers: Sequence[int], limit: float = LIMIT, present: Present | None = None, overrun: bool = True
) -> dict[int, float]:
    """Time steps with different numbers of threads, in turn, so that a busy moment affects all alike.

    The result is the median over blocks of steps. The mean within a block counts the waiting for other processes, which
    the fastest steps miss; the median over the blocks drops moments that are not typical. All numbers take the same
    steps, as steps with a penalty take longer.

    A step begins only if it is expected to end within the limit, so slow steps are timed less often, or only with some
    numbers. Only the first step is not known: with `overrun`, it is timed in any case.

    Args:
        run: takes steps.
        numbers: numbers of threads, ascending, with the present one.
        limit: seconds for all steps.
        present: the number in use, whose first step need not be timed; None at the start.
        overrun: time a step with `first_to_try` even where it is expected to take longer than the limit.

    Returns:
        Number of threads -> seconds per step, of those that were timed, and of the present one.
    """
    first = first_to_try(numbers, present)
    order = sorted(numbers, key=lambda n: (n != first, n < first, -n))
    latest, seen, spent = dict[int, float](), dict[int, float](), 0.0
    if present is not None:
        latest, seen = {present.threads: present.latest}, {present.threads: present.usual}
    blocks: dict[int, list[float]] = {n: [] for n in numbers}
    try:
        for n in (n for n in order if n not in latest):  # first steps also start threads and build kernels
            expected = min((seconds * max(1.0, m / n) for m, seconds in seen.items()), default=0.0)
            if spent + expected <= limit or (overrun and n == first):
                latest[n] = seen[n] = run(n, 0, 1)
                spent += latest[n]
        begin = 1
        for _ in range(ROUNDS if len(latest) > 1 else 0):
            count = math.ceil(BLOCK / max(min(latest.values()), BLOCK / 1000))
            for n in (n for n in order if n in latest):
                if spent + count * latest[n] > limit:
                    return _medians(latest, blocks)
                took = run(n, begin, count)
                spent, latest[n] = spent + took, took / count
                blocks[n].append(latest[n])
            begin += count
    except NotFiniteError:
        pass  # the training reports its own; what was timed so far counts
    return _medians(latest, blocks)


def _medians(latest: dict[int, float], blocks: dict[int, list[float]]) -> dict[int, float]:
    return {n: statistics.median(blocks[n] or [latest[n]]) for n in sorted(latest)}


def fewest_fast(times: dict[int, float]) -> int:
    """The fewest threads that are as fast as the fastest number, up to `TOLERANCE`."""
    return min(n for n, seconds in times.items() if seconds <= (1 + TOLERANCE) * min(times.values()))


class Recheck:
    """Says after each step whether to time the numbers of threads again.

    | when | why |
    | --- | --- |
    | steps took over 1.5 times as long as usual, for more than 10 seconds of steps | other processes need cores |
    | every 60 seconds, if `periodic` | the machine may be quiet again |

    The usual time is the shortest mean of half a second of steps since the last measurement.

    Attributes:
        usual: the usual seconds per step; infinity before half a second of steps.
        latest: the mean of the last half second of steps.
        slow: seconds of steps for which steps have been slow.
    """

    RISEN, LASTING, EVERY, WINDOW = 1.5, 10.0, 60.0, 0.5

    def __init__(self, now: float, periodic: bool) -> None:
        self.restart(now, periodic)

    def restart(self, now: float, periodic: bool) -> None:
        """Begin again after a measurement. `now` in seconds of a clock; `periodic`: measure again every 60 seconds."""
        self.measured_at, self.periodic = now, periodic
        self.usual, self.latest, self.slow = math.inf, 0.0, 0.0
        self._took, self._steps, self._window = 0.0, 0, 0.0

    def due(self, took: float, now: float) -> bool:
        """True if a measurement is due after a step that took `took` seconds and ended at `now`."""
        self._took, self._steps = self._took + took, self._steps + 1
        if self._took >= self.WINDOW:
            self.latest = self._took / self._steps
            self.usual = min(self.usual, self.latest)
            self.slow = self.slow + self._took if self.latest > self.RISEN * self.usual else 0.0
            self._took, self._steps, self._window = 0.0, 0, self._took
        return self.slowed or (self.periodic and self.usual < math.inf and now - self.measured_at >= self.EVERY)

    @property
    def slowed(self) -> bool:
        """Steps have been slow for long enough; a single step, such as one with a penalty, does not count."""
        return self.slow > max(self.LASTING, self._window)
