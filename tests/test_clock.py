"""Seconds of training and of overheads, on a clock that the tests turn: no test depends on the machine's speed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

import sparring
from sparring.assemble.start import share_spent
from sparring.assemble.state import State, find_checkpoint
from sparring.cli import main
from sparring.doctor.probing.prober import ProbeSet
from sparring.evaluation.scoring import Scoring
from sparring.recipe import Recipe
from sparring.run.clock import OVERHEADS, Clock, wall_seconds
from sparring.run.directory import Run
from sparring.training import loop
from sparring.training.completion import finished
from sparring.training.gallery import Gallery
from sparring.training.loop import Session
from sparring.training.step import Stepper

Pass = Callable[[float], None]
START_UP = 2.0  # seconds: the checkpoint of step 0, which is written before the clock starts
SCORED = {
    **TINY,
    "evaluate_every": 5,
    "metrics": "frechet",
    "extractor": "Pixels(most=4)",
    "evaluate_count": 200,
    "evaluate_budget": 0.35,
    "checkpoint_every": 1.02,
    "pictures": 2,
    "keep": 9,
}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Pass:
    """The only way in which time passes: `passes(seconds)`."""
    now = [1000.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def turn(seconds: float) -> None:
        now[0] += seconds

    return turn


@pytest.fixture
def costs(passes: Pass, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let each part of a training take some seconds; the list of all that were spent."""
    spent: list[float] = []

    def takes(seconds: float, owner: Any, name: str, needed: Callable[..., bool] = lambda *_, **__: True) -> None:
        real = getattr(owner, name)

        def slow(*arguments: Any, **options: Any) -> Any:
            spent.append(seconds if needed(*arguments, **options) else 0.0)
            passes(spent[-1])
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, slow)

    takes(10.0, Stepper, "__call__")
    takes(30.0, Scoring, "measure")
    takes(3.0, ProbeSet, "probe")
    takes(5.0, Session, "treat", lambda session, _: session.recipe.doctor == "treat")
    takes(1.0, Gallery, "save")
    takes(2.0, State, "save")
    takes(1.0, loop, "score_samples")
    takes(4.0, State, "renew_statistics", lambda state, *_: state.renewed_at != state.step)
    return spent


def overheads(row: dict[str, Any]) -> dict[str, float]:
    return {name: row[f"overhead/{name}"] for name in OVERHEADS if row[f"overhead/{name}"]}


def times_of(path: Path) -> str:
    """The line of the summary about times."""
    (line,) = [line for line in (path / "summary.md").read_text().splitlines() if line.startswith("Time: ")]
    return line


def test_each_second_counts_once(passes: Pass) -> None:
    clock = Clock()
    passes(100.0)
    clock.start()
    passes(1.0)
    with clock.overhead("evaluation"):
        passes(2.0)
        with clock.overhead("checkpoints"):
            passes(4.0)
        passes(8.0)
    passes(16.0)
    assert clock.seconds == 1  # up to the last reading
    clock.read()
    clock.read()
    assert clock.seconds == 17
    assert clock.overheads == {"evaluation": 10.0, "doctor": 0.0, "pictures": 0.0, "checkpoints": 4.0, "threads": 0.0}
    assert clock.wall_seconds == 31


def test_an_error_ends_an_overhead(passes: Pass) -> None:
    clock = Clock()
    clock.start()
    with contextlib.suppress(ValueError), clock.overhead("doctor"):
        passes(2.0)
        raise ValueError
    passes(1.0)
    clock.read()
    assert (clock.seconds, clock.overheads["doctor"]) == (1, 2)


def test_a_clock_goes_on_from_earlier_times(passes: Pass) -> None:
    before = {"doctor": 3.0}
    clock = Clock(20.0, before)
    clock.start()
    passes(1.0)
    with clock.overhead("doctor"):
        passes(0.5)
    assert (clock.seconds, clock.overheads["doctor"], clock.wall_seconds) == (21, 3.5, 24.5)
    assert before == {"doctor": 3.0}
    assert clock.columns == {f"overhead/{name}": 3.5 * (name == "doctor") for name in OVERHEADS}
    row = {"step": 5, "seconds": 21.0, "accuracy": 0.5}
    assert wall_seconds({**row, **clock.columns}) == 24.5
    assert wall_seconds(row) == 21


def test_the_largest_share_of_the_budgets_decides() -> None:
    clock = Clock(30.0, {"evaluation": 60.0})
    assert share_spent(Recipe(steps=100), 20, clock) == 0.2
    assert share_spent(Recipe(steps=0, minutes=2.0), 20, clock) == 0.25
    assert share_spent(Recipe(steps=0, wall_minutes=2.0), 20, clock) == 0.75
    assert share_spent(Recipe(steps=100, minutes=2.0, wall_minutes=5.0), 20, clock) == 0.3
    assert share_spent(Recipe(steps=10, minutes=2.0, wall_minutes=5.0), 20, clock) == 1


def test_only_steps_are_training(tmp_path: Path, costs: list[float]) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **SCORED))
    rows = run.rows()
    assert [row["seconds"] for row in rows] == [50, 100, 150, 200]
    # A row is written before the probe, evaluation, checkpoint and picture of its step. Batch statistics count as
    # evaluation at step 5, as pictures at step 10, and as checkpoints at steps 11 and 17.
    assert [overheads(row) for row in rows] == [
        {"pictures": 1},
        {"evaluation": 34, "doctor": 3, "pictures": 1, "checkpoints": 2},
        {"evaluation": 34, "doctor": 3, "pictures": 6, "checkpoints": 9},
        {"evaluation": 34, "doctor": 6, "pictures": 6, "checkpoints": 16},
    ]
    entries = run.entries()
    # 5 % of the training time: a second probe, of 3 s after 3 s, is due from 120 s on
    assert [(row["step"], row["cost"]) for row in entries if row.get("event") == "probe"] == [(5, 3), (15, 3), (20, 3)]
    # 35 % of it: a second evaluation, of 30 s after 30 s, is due from 171 s on; the end has one anyway
    assert [(row["step"], row["seconds"], row["cost"]) for row in run.evaluations()] == [(5, 50, 30), (20, 200, 30)]
    assert [row["seconds"] for row in run.scores()] == [50, 200]
    # each 1.02 minutes of wall time
    assert [row["step"] for row in entries if row.get("event") == "checkpoint"] == [11, 17]
    assert times_of(run.path) == (
        "Time: training 200 s (66%), evaluation 68 s (23%), doctor 9 s (3%), pictures 7 s (2%), "
        "checkpoints 18 s (6%), threads 0 s (0%)."
    )
    assert "200 s of training" in (run.path / "summary.md").read_text()
    assert "overhead/" not in (run.path / "summary.md").read_text()
    assert sum(costs) == START_UP + 200 + 68 + 9 + 7 + 18  # all that took time is counted, once


def test_a_resumed_run_goes_on_with_its_times(
    tmp_path: Path, costs: list[float], passes: Pass, killed_at: Callable[..., AbstractContextManager[None]]
) -> None:
    with killed_at(13):
        sparring.train("digits", out=tmp_path / "run", **SCORED)
    run = Run.open(tmp_path / "run")
    saved = find_checkpoint(run)
    assert (saved.step, saved.seconds) == (11, 110)
    # 4 + 1 s of the last checkpoint are those before its writing
    assert saved.overheads == {"evaluation": 34, "doctor": 3, "pictures": 6, "checkpoints": 7, "threads": 0.0}
    passes(10_000.0)
    sparring.resume(run.path)
    (resumed,) = [row for row in run.entries() if row.get("event") == "resumed"]
    assert (resumed["step"], resumed["seconds"]) == (11, 110)
    rows = run.rows()
    assert [row["seconds"] for row in rows] == [50, 100, 150, 200]
    assert [overheads(row) for row in rows[2:]] == [
        {"evaluation": 34, "doctor": 3, "pictures": 6, "checkpoints": 7},
        {"evaluation": 34, "doctor": 6, "pictures": 6, "checkpoints": 14},
    ]
    assert times_of(run.path) == (
        "Time: training 200 s (67%), evaluation 68 s (23%), doctor 9 s (3%), pictures 7 s (2%), "
        "checkpoints 16 s (5%), threads 0 s (0%)."
    )


@pytest.mark.usefixtures("costs")
def test_treating_counts_as_the_doctor(tmp_path: Path) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **{**TINY, "steps": 2, "doctor": "treat"}))
    (row,) = run.rows()
    assert (row["seconds"], overheads(row)) == (20, {"doctor": 5, "pictures": 1})
    assert find_checkpoint(run).overheads["doctor"] == 5 + 3  # and a probe


TIMED = {
    **{name: value for name, value in SCORED.items() if name not in ("steps", "checkpoint_every")},
    "doctor": "off",
    "evaluate_every": 2,
    "evaluate_budget": 1.0,
    "pictures": 0,
}


@pytest.mark.parametrize(
    ("budgets", "last"),
    [
        ({"minutes": 1.0}, 6),
        (
            {"wall_minutes": 2.5},
            6,
        ),  # the clock is at 57 s after step 2, 113 s after step 4, 169 s after evaluating step 6
        ({"wall_minutes": 2.5, "minutes": 1.0}, 6),
        ({"wall_minutes": 2.5, "minutes": 1.0, "steps": 3}, 3),
    ],
    ids=str,
)
@pytest.mark.usefixtures("costs")
def test_the_first_budget_to_be_spent_ends_a_run(budgets: dict[str, Any], last: int, tmp_path: Path) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **TIMED, **budgets))
    assert run.read_recipe().budgets == budgets
    row = run.rows()[-1]
    assert (row["step"], row["seconds"], row["progress"]) == (last, 10 * last, 1)
    assert find_checkpoint(run).step == last
    assert run.evaluations()[-1]["step"] == last
    assert finished(run.path)


def test_a_budget_of_wall_time_is_extended(
    tmp_path: Path, costs: list[float], refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in TIMED.items()]
    assert main(["train", "digits", *words, "--wall-minutes", "2.5", f"--out={tmp_path / 'run'}"]) == 0
    output = capfd.readouterr()
    assert "2.5 minutes of wall time, fp32; a budget in minutes is not bit-reproducible" in output.err
    again = f"sparring resume {tmp_path / 'run'} --wall-minutes 5"
    assert again in output.out
    message = refused("resume", tmp_path / "run")
    assert "has reached its budget at step 6" in message
    assert again in message
    assert main(again.split()[1:]) == 0
    run = Run.open(tmp_path / "run")
    assert run.read_recipe().budgets == {"wall_minutes": 5.0}
    # 167 s after step 6, without the writing of its checkpoint and its picture; 279 s after step 10
    assert [row["step"] for row in run.rows()][-1] == 12


@pytest.mark.slow
@pytest.mark.usefixtures("costs")
def test_a_new_budget_replaces_one_and_keeps_several(tmp_path: Path) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **TIMED, steps=2))
    sparring.resume(run.path, wall_minutes=1.5)
    assert run.read_recipe().budgets == {"wall_minutes": 1.5}
    sparring.resume(run.path, wall_minutes=9.0, steps=6)
    assert run.read_recipe().budgets == {"steps": 6, "wall_minutes": 9.0}
    sparring.resume(run.path, steps=7)
    assert run.read_recipe().budgets == {"steps": 7, "wall_minutes": 9.0}
    assert find_checkpoint(run).step == 7
