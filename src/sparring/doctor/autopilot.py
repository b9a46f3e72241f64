"""Fixes a run while it trains (`--doctor treat`): when, with which fix, and from which state.

The decision is a pure function of the log and of the healthy states that were kept. Both depend on steps and never on
time. A fix is a row of the log, which a resumed run reads. So a run that is killed and resumed gets the same fixes as
one that was not interrupted, to the last bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.assemble.branch import branch
from sparring.assemble.start import BEFORE, start_state
from sparring.assemble.state import State
from sparring.base.device import thread_count
from sparring.base.errors import UserError, writing
from sparring.data.form import Form
from sparring.data.samples import Data
from sparring.doctor.diagnosis.candidates import failures, last_healthy
from sparring.doctor.diagnosis.findings import diagnose
from sparring.doctor.diagnosis.fixes import IN_FLIGHT, fixes_for
from sparring.doctor.diagnosis.signs import EARLIEST
from sparring.recipe import Recipe, read_recipe_file
from sparring.run import checkpoint
from sparring.run.checkpoint import Manifest, manifests
from sparring.run.directory import Run
from sparring.run.log import BRANCH, PROBE, TREATMENT, Row, Treatment, kind_of, of_kind, treatments

MOST = 2  # fixes per run
APART = 0.2  # share of the budget between two fixes, and after the last: findings are medians over as much
SAVES = 10  # healthy states that are saved over a whole run
SAVED = 3  # healthy states that are kept at a time


@dataclass(frozen=True)
class PlannedFix:
    """A fix to apply while a run trains.

    Attributes:
        failure: The failure that it is for.
        about: What it does.
        changes: The fields of the recipe that it changes.
        back_to: The step of the healthy state that both networks go back to, or None where there is none.
        restarted: The networks that start again from random weights where there is no healthy state.
    """

    failure: str
    about: str
    changes: Mapping[str, Any]
    back_to: int | None
    restarted: tuple[str, ...]

    @property
    def description(self) -> str:
        """The fix in one line: what it does, the fields that it changes, and the state that training continues from."""
        restarted = f"{' and '.join(self.restarted)} restarted from random weights"
        state = restarted if self.back_to is None else f"both networks restored from step {self.back_to:,}"
        changes = ", ".join(f"{name}={value!r}" for name, value in self.changes.items())
        return f"{self.about} ({changes}); {state}"

    @classmethod
    def from_row(cls, row: Treatment) -> PlannedFix:
        """The fix that a row of the log records."""
        return cls(row["failure"], row["about"], row["changes"], row["back_to"], tuple(row["restarted"]))


def next_fix(run: Run, recipe: Recipe, form: Form, history: Sequence[Row]) -> PlannedFix | None:
    """The fix that a run needs now, according to its log; None for no fix."""
    step = max((row["step"] for row in history), default=0)
    return decide(history, recipe, form, [m for m in manifests(run.path / "healthy") if m.step <= step])


def decide(history: Sequence[Row], recipe: Recipe, form: Form, saved: Sequence[Manifest]) -> PlannedFix | None:
    """The first fix for the leading failure that is possible while networks train, right after the probe that shows it.

    Args:
        history: The rows of the log.
        recipe: The recipe of the run.
        form: The form of its samples.
        saved: The healthy states that were kept.
    """
    probes, treated = of_kind(history, PROBE), treatments(history)
    if not probes or probes[-1]["step"] < history[-1]["step"] or len(treated) >= MOST:
        return None
    share = probes[-1]["progress"]
    since = share - treated[-1]["step"] * share / probes[-1]["step"] if treated else 1.0
    if since < APART or share > 1 - APART:
        return None
    found = failures(diagnose(history))
    if not found:
        return None
    fixes = [r for r in fixes_for(found[0].failure, recipe, form) if r.changes.keys() <= IN_FLIGHT]
    new = [fix for fix in fixes if all(fix.changes != row["changes"] for row in treated)]
    if not new:
        return None
    diverged = found[0].failure == "divergence"  # often from the first step on; a new loss alone does not help
    healthy = last_healthy(history, saved, found[0].since_step, EARLIEST if diverged else 0.0)
    restarted = () if healthy else ("generator", "discriminator") if diverged else ("discriminator",)
    back = None if healthy is None else healthy.step
    return PlannedFix(found[0].failure, new[0].about, dict(new[0].changes), back, restarted)


def record_fix(planned_fix: PlannedFix, run: Run, recipe: Recipe, state: State) -> Row:
    """Save the run without the fix, then write the fix to the log, which makes it final.

    The run without the fix is the run directory `before-treatment-1` or `-2` within the run; it can be resumed.
    """
    number = len(treatments(run.history())) + 1
    folder = _untreated_copy(run, number)
    branch(run, folder, recipe.replace(doctor="watch"), state)
    if number == 1:
        run.write(BEFORE, recipe.to_toml())
    row = state.row(
        TREATMENT, **vars(planned_fix) | {"restarted": [*planned_fix.restarted], "untreated_run": folder.name}
    )
    run.append(row)
    return row


def _untreated_copy(run: Run, number: int) -> Path:
    """A folder for the run without the fix: a new name if the user resumed the run in the old one."""
    for name in (f"before-treatment-{number}", *(f"before-treatment-{number}-{i}" for i in range(2, 100))):
        folder = run.path / name
        if folder.exists() and not _was_resumed(folder):
            shutil.rmtree(folder)  # left by a process that was killed or resumed from an earlier step
        if not folder.exists():
            return folder
    raise UserError(f"{run.path} holds a hundred folders before-treatment-*, the most allowed; remove some of them")


def _was_resumed(folder: Path) -> bool:
    """The run without the fix was resumed: its log no longer ends with the row BRANCH."""
    return bool(manifests(folder / "checkpoints")) and kind_of(Run(folder).entries()[-1]) != BRANCH


def apply_fix(planned_fix: PlannedFix, run: Run, recipe: Recipe, data: Data, state: State) -> tuple[Recipe, State]:
    """Apply a fix: the recipe and the state from which training continues. The step, and so the schedules, stay."""
    changed = recipe.replace(**planned_fix.changes)
    with thread_count(1):  # as at the start of a run: initial weights depend on no timing
        treated = start_state(changed, data, state.device)
    if planned_fix.back_to is not None:
        folder = run.path / "healthy"
        (manifest,) = [m for m in manifests(folder) if m.step == planned_fix.back_to]
        treated.take_over(checkpoint.load(folder, manifest))
    elif "generator" not in planned_fix.restarted:
        kept = {n: t for n, t in state.tensors().items() if n.startswith(("generator/", "average/"))}
        treated.take_over(kept)  # without the optimisers' moments, which belong to the old opponent
    treated.step, treated.position, treated.clock = state.step, state.position, state.clock
    return changed, treated


def recipe_at(run: Run, step: int) -> tuple[Recipe, PlannedFix | None]:
    """The recipe that a run's checkpoint of a step was trained with, and the fix that was applied right after it, if
    any."""
    recipe, before = run.read_recipe(), read_recipe_file(run.path / BEFORE)
    fields = {name for row in treatments(run.entries()) for name in row["changes"]}
    recipe = recipe.replace(**{name: getattr(before, name) for name in fields})
    valid = treatments(run.history())  # without fixes of steps that the run went back before
    for row in valid:
        if row["step"] < step:
            recipe = recipe.replace(**row["changes"])
    return recipe, next((PlannedFix.from_row(row) for row in valid if row["step"] == step), None)


def keep_healthy(run: Run, recipe: Recipe, state: State, share: float) -> None:
    """Save a state without a finding, a tenth of the budget after the one before. The last ones stay, and those that a
    fix went back to."""
    folder = run.path / "healthy"
    saved = [m for m in manifests(folder) if m.step <= state.step]
    if saved and int(SAVES * share * saved[-1].step / state.step) == int(SAVES * share):
        return
    state.check()
    with writing(folder, run.fix):
        folder.mkdir(exist_ok=True)
    checkpoint.save(folder, state.tensors(), {**state.described(), "score": None}, run.fix)
    used = {row["back_to"] for row in treatments(run.entries())}
    for old in saved[: max(0, len(saved) + 1 - SAVED)]:
        if old.step not in used:
            checkpoint.remove(folder, old)
