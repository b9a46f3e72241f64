"""The number of CPU threads of a training: given, kept from the start of the run, or the fastest of timed ones."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from sparring.assemble.state import State
from sparring.base.choices import parse_threads
from sparring.base.cores import available_cores, cores_of_worker
from sparring.base.device import set_threads
from sparring.base.workers import local_count, workers
from sparring.data.samples import Data
from sparring.recipe import Recipe
from sparring.run.directory import Run
from sparring.run.log import THREADS, of_kind
from sparring.training.step import Stepper
from sparring.training.thread_timing import LIMIT, Present, Recheck, Steps, fewest_fast, numbers_to_try, time_numbers

SLOWED = "timed again, as steps became slow"
PERIODIC = "timed again, as the machine may be quiet again"


class Threads:
    """Chooses the number of threads of a run.

    | recipe and device | number |
    | --- | --- |
    | a number | that number, always |
    | `auto` on a CPU, resumed, budget in steps | that of the run's start, at most all available cores |
    | `auto` on a CPU | the fastest of 1, 2, 4, ... and all available cores, by time |
    | `auto` on another device | torch's own |
    | `auto`, one of several workers | its share of the machine's cores |

    With a budget in steps, the number stays, so that a repeat is bit-identical. Otherwise `Recheck` says when the
    numbers are timed again.

    Attributes:
        automatic: the number is chosen here; False as well once the networks could not be copied for a timing.
        times: seconds per step by number of threads, as timed last; empty where nothing was timed.
        what: why the number was chosen.
    """

    def __init__(
        self, recipe: Recipe, data: Data, device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.fixed, self.clock, self.cores = parse_threads(recipe.threads), clock, available_cores()
        self.data = replace(data, stream=None)  # timed steps take samples from memory
        self.on_cpu = device.type == "cpu"
        self.automatic = not self.fixed and self.on_cpu
        self.times: dict[int, float] = {}
        self.what = "set by the recipe"
        self.recheck: Recheck | None = None
        self.changed = False

    def start(self, recipe: Recipe, state: State, share: float, kept: int = 0) -> None:
        """Choose the number for the steps from this state on.

        Args:
            recipe: the recipe.
            state: the state before the next step; timing steps takes a copy of it.
            share: the share of the budget that is spent.
            kept: the number at the start of a resumed run; 0 chooses again.
        """
        if self.fixed:
            set_threads(self.fixed)
        elif self.automatic and kept:
            self.what = "as at the start of the run" if kept <= self.cores else "all available cores"
            set_threads(min(kept, self.cores))
        elif self.automatic and workers().several:  # timing steps would need all of them
            self.what = "this worker's share of the cores"
            set_threads(cores_of_worker(local_count()))
        elif self.automatic and self.cores == 1:
            self.what = "one available core"
            set_threads(1)
        elif self.automatic:
            default = min(torch.get_num_threads(), self.cores)
            self.time(recipe, state, share)
            timed = len(self.times) > 1
            why_not = "a step is too slow to time others" if self.automatic else "the networks cannot be copied"
            self.what = "the fastest number" if timed else f"torch's number, as {why_not}"
            set_threads(fewest_fast(self.times) if timed else default)
            if recipe.timed and self.automatic:
                self.recheck = Recheck(self.clock(), not timed or torch.get_num_threads() < self.cores)

    def time(
        self, recipe: Recipe, state: State, share: float, present: Present | None = None, overrun: bool = True
    ) -> None:
        """Time steps on a copy of the state, so that no bit of the training depends on them but by the number."""
        began, numbers = self.clock(), numbers_to_try(self.cores, min(torch.get_num_threads(), self.cores))
        self.times = {}
        with torch.random.fork_rng(devices=[]):
            try:
                copied = copy.deepcopy(state)
            except (RuntimeError, TypeError):  # a user's network may hold a tensor with a graph, a lock or a file
                self.automatic = False
                return
            limit = LIMIT - (self.clock() - began)
            self.times = time_numbers(self.steps(recipe, copied, share), numbers, limit, present, overrun)

    def steps(self, recipe: Recipe, state: State, share: float) -> Steps:
        """A function that takes steps on this state, which is a copy, and returns their time."""
        step, position, stepper = state.step, state.position, Stepper(recipe, self.data, state)

        def run(threads: int, first: int, count: int) -> float:
            set_threads(threads)
            state.step, state.position = step + first, position + first * recipe.batch_size
            began = self.clock()
            for _ in range(count):
                stepper(share)
            return self.clock() - began

        return run

    def record(self, run: Run, state: State) -> None:
        """Write the number to the run's log, unless it is the last one there."""
        last = of_kind(run.history(), THREADS)[-1:]
        if (self.fixed or self.on_cpu) and [row["threads"] for row in last] != [torch.get_num_threads()]:
            milliseconds = {str(n): round(1000 * seconds, 3) for n, seconds in self.times.items()}
            run.append(state.row(THREADS, threads=torch.get_num_threads(), what=self.what, milliseconds=milliseconds))

    def due(self, took: float) -> bool:
        """True if the number is to be chosen again, after a step that took `took` seconds."""
        return self.recheck is not None and self.recheck.due(took, self.clock())

    def choose_again(self, recipe: Recipe, state: State, share: float, run: Run, note: Callable[[str], None]) -> None:
        """Time the numbers of threads and take the fastest; write a change to the log, and a line with `note`."""
        assert self.recheck is not None
        recheck, before, unsure = self.recheck, torch.get_num_threads(), len(self.times) < 2
        present = Present(before, recheck.usual, recheck.latest)
        self.time(recipe, state, share, present, overrun=recheck.slowed or unsure)
        if not self.automatic:
            self.recheck = None
            return
        chosen = fewest_fast(self.times)
        set_threads(chosen)
        self.what = SLOWED if recheck.slowed else PERIODIC
        if chosen != before:
            self.changed = True
            self.record(run, state)
            times = f"{1000 * self.times[chosen]:.3g} ms per step instead of {1000 * self.times[before]:.3g}"
            note(f"step {state.step:,} | threads: {chosen} instead of {before} ({times}; {self.what})")
        recheck.restart(self.clock(), self.changed or chosen < self.cores)
