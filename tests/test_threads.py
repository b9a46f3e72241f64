"""The number of threads: how it is chosen, kept, changed and recorded. No test depends on how long anything takes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

import sparring
from sparring.assemble.start import start_state
from sparring.base.cores import available_cores, limit_cores, limited_environment, share_of
from sparring.base.device import prepared, set_threads
from sparring.base.errors import NotFiniteError
from sparring.data.load import load_data
from sparring.recipe import Recipe
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.run.log import THREADS, of_kind
from sparring.training import threads as threads_module
from sparring.training.step import Stepper
from sparring.training.thread_timing import (
    LIMIT,
    Present,
    Recheck,
    Steps,
    fewest_fast,
    first_to_try,
    numbers_to_try,
    time_numbers,
)
from sparring.training.threads import PERIODIC, SLOWED, Threads

on_cpu = pytest.mark.cpu_only("the number of threads is chosen on a CPU")
QUIET, BUSY = {1: 0.03, 2: 0.02}, {1: 0.03, 2: 0.3}  # seconds per step by number of threads


@pytest.fixture(autouse=True)
def thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch reports the number of threads that was set, but computes with one, which is fast on busy cores, too."""
    number = [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: number.__setitem__(0, threads))


# Available cores


@pytest.mark.parametrize(
    ("limit", "cores"), [(None, 4), ("2", 2), ("8", 4), ("3,1", 3), (" 1 ", 1), ("0", 4), ("many", 4), ("", 4)]
)
def test_available_cores(monkeypatch: pytest.MonkeyPatch, limit: str | None, cores: int) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5, 7}, raising=False)
    assert available_cores() == cores
    assert [share_of(jobs) for jobs in (1, 2, 100)] == [cores, max(1, cores // 2), 1]


def test_available_cores_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, cores in ((3, 3), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert available_cores() == cores


def test_a_share_limits_torch_and_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    assert limited_environment(3) == {**os.environ, "OMP_NUM_THREADS": "3"}
    limit_cores(3)
    assert torch.get_num_threads() == 3
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_worker_processes_get_their_share() -> None:
    with ProcessPoolExecutor(1, get_context("spawn"), limit_cores, (1,)) as pool:
        assert pool.submit(available_cores).result() == 1
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"


class StandInPool:
    """A pool that records how it is made and does nothing."""

    made: list[tuple[Any, ...]]

    def __init__(self, jobs: int, context: object, initializer: object = None, initargs: tuple[Any, ...] = ()) -> None:
        self.made.append((jobs, initializer, initargs))

    def __enter__(self) -> StandInPool:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: object, *work: object) -> list[str]:
        return []


def test_parallel_trials_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sparring.studies.treat import trials

    StandInPool.made = []
    monkeypatch.setattr(trials, "ProcessPoolExecutor", StandInPool)
    monkeypatch.setattr("sparring.base.cores.available_cores", lambda: 6)
    trials.TrialSetup(tmp_path, Recipe(), tmp_path, trust=False).train_all([None] * 4, 0.1, jobs=3)  # type: ignore[list-item]
    assert StandInPool.made == [(3, limit_cores, (2,))]
    trials.TrialSetup(tmp_path, Recipe(), tmp_path, trust=False).train_all([None] * 2, 0.1, jobs=3)  # type: ignore[list-item]
    assert StandInPool.made[1:] == [(2, limit_cores, (3,))], "no process without a trial"


def test_the_clinic_trains_a_case_on_each_available_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sparring.studies.clinic import clinic

    StandInPool.made = []
    monkeypatch.setattr(clinic, "ProcessPoolExecutor", StandInPool)
    monkeypatch.setattr(clinic, "available_cores", lambda: 3)
    monkeypatch.setattr(clinic, "save_pictures", lambda *_: None)
    clinic.run_clinic(tmp_path, seeds=4, only="ring-plain")
    assert [made[0] for made in StandInPool.made] == [3]


# The choice


class Machine:
    """A machine without a clock: `cost(threads, step)` is the seconds of a step. It records what ran."""

    def __init__(self, cost: Callable[[int, int], float]) -> None:
        self.cost, self.calls, self.spent = cost, list[tuple[int, int, int]](), 0.0

    def __call__(self, threads: int, first: int, count: int) -> float:
        self.calls.append((threads, first, count))
        took = sum(self.cost(threads, step) for step in range(first, first + count))
        self.spent += took
        return took


def of_costs(costs: Mapping[int, float]) -> Machine:
    return Machine(lambda threads, step: costs[threads])


@pytest.mark.parametrize(
    ("cores", "numbers"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_the_numbers_to_try(cores: int, numbers: list[int]) -> None:
    assert numbers_to_try(cores, present=cores) == numbers
    assert numbers_to_try(12, present=6) == [1, 2, 4, 6, 8, 12]


@pytest.mark.parametrize(
    ("costs", "number"),
    [
        (QUIET, 2),
        (BUSY, 1),
        ({1: 0.0304, 2: 0.03}, 1),  # within 3 %
        ({1: 0.0312, 2: 0.03}, 2),
        ({1: 0.1, 2: 0.06, 4: 0.0405, 8: 0.04}, 4),
        ({1: 1e-6, 2: 1e-5}, 1),
        ({1: 0.9, 2: 0.5}, 2),  # each is timed at least once
    ],
)
def test_the_fewest_of_the_fastest(costs: dict[int, float], number: int) -> None:
    times = time_numbers(of_costs(costs), list(costs))
    assert times == pytest.approx(costs)
    assert fewest_fast(times) == number


def test_all_numbers_take_the_same_steps_in_turn() -> None:
    machine = of_costs(QUIET)
    time_numbers(machine, [1, 2])
    assert [call[0] for call in machine.calls] == [1, 2] * 8
    assert all(a[1:] == b[1:] for a, b in zip(machine.calls[::2], machine.calls[1::2]))
    begins = [first for _, first, _ in machine.calls[::2]]
    assert begins == [0, *(1 + 2 * i for i in range(7))], "blocks of 40 ms: two steps of 20 ms, one after another"


def test_waiting_counts_where_a_process_competes() -> None:
    """With two threads most steps are fast, but some wait for a core."""
    times = time_numbers(Machine(lambda n, step: 0.012 if n == 1 else 0.06 if step % 4 == 0 else 0.008), [1, 2])
    assert fewest_fast(times) == 1


def test_a_busy_moment_does_not_count() -> None:
    """Two of the seven blocks with two threads meet a busy moment."""
    times = time_numbers(Machine(lambda n, step: 0.03 if n == 1 else 0.15 if step in (3, 4, 7, 8) else 0.02), [1, 2])
    assert times == pytest.approx(QUIET)


def test_a_lucky_moment_does_not_count() -> None:
    """Two threads are fast in one block, and wait in all others."""
    times = time_numbers(Machine(lambda n, step: 0.03 if n == 1 else 0.02 if step in (1, 2) else 0.06), [1, 2])
    assert fewest_fast(times) == 1


@given(st.lists(st.floats(1e-5, 1.9), min_size=1, max_size=6))
def test_a_measurement_ends_within_the_limit(scales: list[float]) -> None:
    costs = {1: scales[0]}
    for i, scale in enumerate(scales[1:], start=1):  # more threads are at best in proportion faster, and never slower
        costs[1 << i] = costs[1 << (i - 1)] * (0.5 + scale / 3.8)
    machine = of_costs(costs)
    times = time_numbers(machine, list(costs))
    assert machine.spent <= LIMIT or len(machine.calls) == 1
    assert set(times) <= set(costs)


def test_of_a_step_longer_than_the_limit_one_is_timed() -> None:
    machine = of_costs({1: 5.0, 2: 3.0})
    assert time_numbers(machine, [1, 2]) == {1: 5.0}
    assert machine.calls == [(1, 0, 1)]


def test_the_first_number_to_try() -> None:
    assert [first_to_try(numbers_to_try(n, n)) for n in (1, 2, 8, 16, 64)] == [1, 1, 1, 2, 8]
    later = {1: 2, 2: 1, 4: 2, 8: 4}
    assert {n: first_to_try([1, 2, 4, 8], Present(n, 0.1, 0.1)) for n in later} == later


def test_a_diverging_step_ends_the_measurement() -> None:
    def cost(threads: int, step: int) -> float:
        if step == 3:
            raise NotFiniteError("NaN")
        return QUIET[threads]

    assert time_numbers(Machine(cost), [1, 2]) == QUIET
    assert time_numbers(Machine(lambda *_: cost(1, 3)), [1, 2]) == {}


def test_a_slow_present_number_is_not_timed_again() -> None:
    machine = of_costs({1: 0.5, 2: 6.0})
    times = time_numbers(machine, [1, 2], present=Present(2, usual=0.3, latest=6.0))
    assert times == {1: 0.5, 2: 6.0}
    assert {n for n, _, _ in machine.calls} == {1}
    assert machine.spent <= LIMIT


def test_slow_steps_are_timed_again_only_if_that_is_needed() -> None:
    present = Present(2, usual=1.5, latest=12.0)  # one thread is expected to take 3 s
    for overrun, times in ((True, {1: 2.5, 2: 12.0}), (False, {2: 12.0})):
        assert time_numbers(of_costs({1: 2.5, 2: 12.0}), [1, 2], present=present, overrun=overrun) == times


# When to measure again


def feed(recheck: Recheck, took: float, seconds: float, now: float = 0.0) -> float | None:
    """Feed steps for some seconds; return the seconds until a measurement is due, or None."""
    at = now
    while at < now + seconds:
        at += took
        if recheck.due(took, at):
            return at - now
    return None


def test_steps_that_stay_slow_are_measured_again() -> None:
    recheck = Recheck(0.0, periodic=False)
    assert feed(recheck, 0.02, 100) is None
    waited = feed(recheck, 0.031, 100, now=100)
    assert waited is not None
    assert 9.5 < waited < 11.5
    assert recheck.slowed
    assert recheck.usual == pytest.approx(0.02)
    assert recheck.latest == pytest.approx(0.031)


def test_no_measurement_without_lasting_slowness() -> None:
    recheck = Recheck(0.0, periodic=False)
    assert feed(recheck, 0.02, 5) is None
    for begin in range(5, 100, 10):
        assert feed(recheck, 0.1, 9, now=begin) is None
        assert feed(recheck, 0.02, 1.5, now=begin + 9) is None
    assert feed(recheck, 0.029, 1000, now=100) is None


def test_one_slow_step_is_not_lasting_slowness() -> None:
    recheck = Recheck(0.0, periodic=False)
    for i in range(100):
        assert not recheck.due(2.0 if i % 8 else 20.0, 30.0 * i), "every eighth step has a penalty"


def test_a_measurement_resets_what_is_usual() -> None:
    recheck = Recheck(0.0, periodic=False)
    feed(recheck, 0.02, 5)
    assert feed(recheck, 0.2, 100, now=5) is not None
    recheck.restart(20.0, periodic=False)
    assert feed(recheck, 0.2, 1000, now=20) is None
    assert feed(recheck, 0.02, 5, now=1020) is None, "faster again"
    assert feed(recheck, 0.2, 100, now=1025) is not None


def test_periodic_measurements() -> None:
    recheck = Recheck(0.0, periodic=True)
    for begin in (0.0, 100.0):
        waited = feed(recheck, 0.02, 100, now=begin)
        assert waited == pytest.approx(60, abs=0.1)
        assert not recheck.slowed
        recheck.restart(begin + 100, periodic=True)


# Runs


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "available_cores", lambda: 2)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, two_cores: None) -> Callable[..., list[Present | None]]:
    """Set the results of measurements; each also takes real steps. Returns the list of the present numbers."""

    def results(*times: dict[int, float]) -> list[Present | None]:
        left, presents = list(times), list[Present | None]()

        def stand_in(
            run: Steps, numbers: list[int], limit: float, present: Present | None, overrun: bool
        ) -> dict[int, float]:
            presents.append(present)
            assert numbers == [1, 2]
            assert limit <= LIMIT
            for n in (1, 2, 1):
                run(n, 0, 2)
            return left.pop(0)

        monkeypatch.setattr(threads_module, "time_numbers", stand_in)
        return presents

    return results


def rows_of(path: Path) -> list[dict[str, Any]]:
    return of_kind(Run.open(path).history(), THREADS)


def numbers_of(path: Path) -> list[tuple[int, int]]:
    return [(row["step"], row["threads"]) for row in rows_of(path)]


def environment_of(path: Path) -> int:
    return int(json.loads((path / "environment.json").read_text())["threads"])


def final_hash(path: Path) -> str:
    return checkpoint.manifests(path / "checkpoints")[-1].sha256


def noted_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of threads of each training step."""
    noted, take_step = list[int](), Stepper.__call__

    def noting(self: Stepper, progress: float) -> object:
        noted.append(torch.get_num_threads())
        return take_step(self, progress)

    monkeypatch.setattr(Stepper, "__call__", noting)
    return noted


@on_cpu
@pytest.mark.parametrize(("times", "number"), [(QUIET, 2), (BUSY, 1), ({1: 5.0}, 1), ({}, 1)], ids=str)
def test_the_chosen_number_is_used_recorded_and_restored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: Callable[..., list[Present | None]],
    times: dict[int, float],
    number: int,
) -> None:
    assert timed(times) == []
    noted = noted_threads(monkeypatch)
    path = sparring.train("digits", out=tmp_path / "run", **TINY)
    assert noted[6:] == [number] * TINY["steps"], "after the steps of the measurement"
    (row,) = rows_of(path)
    assert (row["step"], row["threads"]) == (0, number)
    assert row["milliseconds"] == {str(n): 1000 * seconds for n, seconds in times.items()}
    assert ("fastest" if len(times) > 1 else "too slow") in row["what"]
    assert environment_of(path) == number
    assert Run.open(path).read_recipe().threads == "auto"
    assert torch.get_num_threads() == 1


@on_cpu
def test_one_core_is_not_timed(tiny_run: Path) -> None:
    (row,) = rows_of(tiny_run)
    assert row == {**row, "step": 0, "threads": 1, "what": "one available core", "milliseconds": {}}
    assert environment_of(tiny_run) == 1


EVERYTHING = {
    "generator": "DCGANGenerator(width=4)",
    "discriminator": "DCGANDiscriminator(width=4, spectral_norm=True)",
    "penalties": "GradientPenalty(every=3), R1(weight=1, every=2)",
    "augment": "ADA()",
    "turns": "Alternating(n_critic=2)",
    "learning_rate": "Constant(1)",  # which no budget in minutes changes
    "ema": "EMA(half_life=500)",
    "batch_size": 16,
    "steps": 8,
    "log_every": 2,
    "pictures": 1,
    "precision": "fp32",
}


@on_cpu
@pytest.mark.slow
def test_timing_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: Callable[..., list[Present | None]]
) -> None:
    timed(QUIET, QUIET, QUIET, QUIET)
    monkeypatch.setattr(Recheck, "due", lambda self, took, now: True)
    automatic = sparring.train("digits", out=tmp_path / "auto", **EVERYTHING)
    given = sparring.train("digits", out=tmp_path / "given", threads=2, **EVERYTHING)
    assert final_hash(automatic) == final_hash(given)
    again = sparring.train("digits", out=tmp_path / "again", **EVERYTHING, minutes=600.0, until=0.3)
    assert len(rows_of(again)) == 1
    assert checkpoint.manifests(again / "checkpoints")[-1].step == 3
    part = sparring.train("digits", out=tmp_path / "part", threads=2, **EVERYTHING, until=0.3)
    assert final_hash(again) == final_hash(part), "measured again after each step"


def test_a_given_number_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "time_numbers", None)  # a call fails
    monkeypatch.setattr(Recheck, "due", lambda self, took, now: True)
    noted = noted_threads(monkeypatch)
    path = sparring.train("digits", out=tmp_path / "run", threads=3, **TINY, minutes=600.0, until=0.3)
    sparring.resume(path)
    assert noted == [3] * TINY["steps"]
    assert numbers_of(path) == [(0, 3)]
    assert rows_of(path)[0]["what"] == "set by the recipe"
    assert Run.open(path).read_recipe().threads == "3"
    assert environment_of(path) == 3


@on_cpu
@pytest.mark.slow
def test_resuming_keeps_the_number_of_a_budget_in_steps(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    timed: Callable[..., list[Present | None]],
) -> None:
    timed(QUIET)
    path = sparring.train("digits", out=tmp_path / "run", **TINY, until=0.25)
    noted = noted_threads(monkeypatch)
    sparring.resume(path, until=0.5)
    assert noted == [2] * 5
    assert numbers_of(path) == [(0, 2)]
    assert "threads was" not in capsys.readouterr().err
    monkeypatch.setattr(threads_module, "available_cores", lambda: 1)
    sparring.resume(path, until=0.75)
    assert noted == [2] * 5 + [1] * 5, "never more than the available cores"
    assert numbers_of(path) == [(0, 2), (10, 1)]
    assert "threads was 2 and is 1; results may differ" in capsys.readouterr().err
    monkeypatch.setattr(threads_module, "available_cores", lambda: 2)
    sparring.resume(path)
    assert numbers_of(path) == [(0, 2), (10, 1), (15, 2)]


@on_cpu
@pytest.mark.slow
def test_resuming_a_budget_in_minutes_chooses_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], timed: Callable[..., list[Present | None]]
) -> None:
    timed(QUIET, BUSY)
    path = sparring.train("digits", out=tmp_path / "run", **TINY, minutes=600.0, until=0.25)
    sparring.resume(path)
    assert numbers_of(path) == [(0, 2), (5, 1)]
    assert "threads was" not in capsys.readouterr().err


@on_cpu
def test_the_number_changes_while_it_trains(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    timed: Callable[..., list[Present | None]],
) -> None:
    presents = timed(QUIET, BUSY, BUSY, QUIET, {1: 0.03, 2: 0.029})
    steps, periodic = list[bool](), list[bool]()
    restart = Recheck.restart

    def due(self: Recheck, took: float, now: float) -> bool:
        steps.append(True)
        self.usual, self.latest, self.slow = 0.02, 0.3, 11.0 * (len(steps) == 5)
        return len(steps) % 5 == 0

    def restarting(self: Recheck, now: float, again: bool) -> None:
        periodic.append(again)
        restart(self, now, again)

    monkeypatch.setattr(Recheck, "due", due)
    monkeypatch.setattr(Recheck, "restart", restarting)
    noted = noted_threads(monkeypatch)
    path = sparring.train("digits", out=tmp_path / "run", **{**TINY, "steps": 23}, minutes=600.0)
    taken = [n for i, n in enumerate(noted) if i % 11 >= 6]
    assert taken[:20] == [2] * 5 + [1] * 10 + [2] * 5, "between measurements of six steps"
    assert numbers_of(path) == [(0, 2), (5, 1), (15, 2)]
    assert [row["what"] for row in rows_of(path)[1:]] == [SLOWED, PERIODIC]
    assert presents == [None, *(Present(n, 0.02, 0.3) for n in (2, 1, 1, 2))]
    assert periodic == [False, True, True, True, True], "after a change, the numbers are timed every 60 seconds"
    shown = capsys.readouterr().err
    assert f"step 5 | threads: 1 instead of 2 (30 ms per step instead of 300; {SLOWED})" in shown
    assert f"step 15 | threads: 2 instead of 1 (20 ms per step instead of 30; {PERIODIC})" in shown


def test_timing_is_an_overhead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, take_step, notes = [1000.0], Stepper.__call__, list[float]()

    def step(self: Stepper, progress: float) -> object:
        now[0] += 10
        return take_step(self, progress)

    def due(self: Threads, took: float) -> bool:
        notes.append(took)
        return len(notes) == 4

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(Stepper, "__call__", step)
    monkeypatch.setattr(Threads, "due", due)
    monkeypatch.setattr(Threads, "choose_again", lambda *_: now.__setitem__(0, now[0] + 7))
    rows = Run.open(sparring.train("digits", out=tmp_path / "run", **{**TINY, "steps": 6, "log_every": 1})).rows()
    assert [row["seconds"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert [row["overhead/threads"] for row in rows] == [0, 0, 0, 0, 7, 7]
    assert notes == [10.0] * 5, "not after the last step"


def test_steps_are_timed_on_a_copy(tmp_path: Path, timed: Callable[..., list[Present | None]]) -> None:
    timed(QUIET, QUIET)
    recipe, data, device = Recipe(**{**TINY, "minutes": 600.0}), load_data("digits"), torch.device("cpu")
    state, now = start_state(recipe.replace(augment=""), data, device), [0.0]
    weights = [tensor.clone() for tensor in state.tensors().values()]
    threads = Threads(recipe, data, device, lambda: now[0])
    threads.start(recipe, state, 0.0)
    assert not threads.due(0.02)
    assert threads.recheck is not None
    threads.recheck.usual, threads.recheck.latest, threads.recheck.slow = 0.02, 0.3, 11.0
    assert threads.due(0.3)
    threads.choose_again(recipe, state, 0.0, Run(tmp_path), print)
    assert not threads.due(0.3), "a measurement begins again"
    assert (state.step, state.position) == (0, 0)
    assert all(torch.equal(a, b) for a, b in zip(weights, state.tensors().values()))


def test_all_threads_flush_denormals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size of the pool: torch starts and ends threads as the number changes."""
    monkeypatch.undo()  # real threads
    found: list[float] = []

    def check() -> None:
        denormals = torch.full((1 << 20,), 2.0**-130)
        with prepared(torch.device("cpu")):
            for n in (2, 1, 4, 3, 2, 4):
                set_threads(n)
                found.append(denormals.mul(1).max().item())

    thread = Thread(target=check)  # torch's threads belong to the thread that starts them, so these are new
    thread.start()
    thread.join()
    assert found == [0.0] * 6


def test_a_gpu_keeps_the_number_of_torch(tmp_path: Path, two_cores: None) -> None:
    data, device, run = load_data("digits"), torch.device("cuda"), Run(tmp_path)
    state = start_state(Recipe(**TINY, augment=""), data, torch.device("cpu"))
    torch.set_num_threads(3)
    for fixed, rows in (("auto", []), ("2", [2])):
        recipe = Recipe(**TINY, threads=fixed)
        threads = Threads(recipe, data, device)
        threads.start(recipe, state, 0.0, kept=1)
        threads.record(run, state)
        assert torch.get_num_threads() == (rows or [3])[0]
        assert [row["threads"] for row in of_kind(run.entries(), THREADS)] == rows
