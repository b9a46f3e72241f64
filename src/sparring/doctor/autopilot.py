"""Treats a run while it trains (`--doctor treat`): when, with what, and from which state.

What is decided is a pure function of the log and of the healthy states that were kept, both of which follow from steps
and never from the clock; a treatment is a row of the log, and the log decides when a run is resumed. So a run that is
killed and resumed is treated as one that nothing interrupted, to the last bit.
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

MOST = 2  # treatments of a run
APART = 0.2  # of the budget between two of them, and after the last: verdicts look back as far
SAVES = 10  # healthy states that are kept for a while, over a whole run
SAVED = 3  # how many of them are there at a time


@dataclass(frozen=True)
class PlannedFix:
    """A remedy against an illness that changes fields of the recipe while a run trains. Both players go back to the
    healthy state of the step `back_to`; where there is none (None), the `restarted` players start anew."""

    failure: str
    about: str
    changes: Mapping[str, Any]
    back_to: int | None
    restarted: tuple[str, ...]

    @property
    def reported(self) -> str:
        """It in words."""
        anew = f"{' and '.join(self.restarted)} anew"
        state = anew if self.back_to is None else f"both players as they were at step {self.back_to:,}"
        changes = ", ".join(f"{name}={value!r}" for name, value in self.changes.items())
        return f"{self.about} ({changes}); {state}"

    @classmethod
    def from_row(cls, row: Treatment) -> PlannedFix:
        """That of a row of the log."""
        return cls(row["failure"], row["about"], row["changes"], row["back_to"], tuple(row["restarted"]))


def wanted(run: Run, recipe: Recipe, form: Form, history: Sequence[Row]) -> PlannedFix | None:
    """What to do about the run as its log stands, if anything."""
    step = max((row["step"] for row in history), default=0)
    return decide(history, recipe, form, [m for m in manifests(run.path / "healthy") if m.step <= step])


def decide(history: Sequence[Row], recipe: Recipe, form: Form, saved: Sequence[Manifest]) -> PlannedFix | None:
    """The first remedy of the leading illness that can be applied in flight, right after the look that showed it;
    `saved` are the healthy states that were kept."""
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
    diverged = found[0].failure == "divergence"  # from the first step on, often, and not to be mended by a new loss
    healthy = last_healthy(history, saved, found[0].since_step, EARLIEST if diverged else 0.0)
    restarted = () if healthy else ("generator", "discriminator") if diverged else ("discriminator",)
    back = None if healthy is None else healthy.step
    return PlannedFix(found[0].failure, new[0].about, dict(new[0].changes), back, restarted)


def record_fix(planned_fix: PlannedFix, run: Run, recipe: Recipe, state: State) -> Row:
    """Keep the way back, then write the treatment into the log; from that row on it is decided. The way back is a run
    directory of its own, `before-treatment-1` or `-2`: resumed, it goes on untreated."""
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
    """A folder for the way back. One that was gone on with is somebody's run: another name is taken then."""
    for name in (f"before-treatment-{number}", *(f"before-treatment-{number}-{i}" for i in range(2, 100))):
        folder = run.path / name
        if folder.exists() and not _gone_on_with(folder):
            shutil.rmtree(folder)  # a killed process left it, or one whose log was cut back
        if not folder.exists():
            return folder
    raise UserError(f"{run.path} holds a hundred ways back from treatments; remove some of before-treatment-*")


def _gone_on_with(folder: Path) -> bool:
    """Was a way back resumed? Until then its log ends where it was branched off."""
    return bool(manifests(folder / "checkpoints")) and kind_of(Run(folder).entries()[-1]) != BRANCH


def carry_out(planned_fix: PlannedFix, run: Run, recipe: Recipe, data: Data, state: State) -> tuple[Recipe, State]:
    """The recipe and the state that training goes on with: the steps that were taken, and so the schedules, stay."""
    changed = recipe.replace(**planned_fix.changes)
    device = next(state.game.generator.network.parameters()).device
    treated = start_state(changed, data, device)
    if planned_fix.back_to is not None:
        folder = run.path / "healthy"
        (manifest,) = [m for m in manifests(folder) if m.step == planned_fix.back_to]
        treated.take_over(checkpoint.load(folder, manifest))
    elif "generator" not in planned_fix.restarted:
        kept = {n: t for n, t in state.tensors().items() if n.startswith(("generator/", "average/"))}
        treated.take_over(kept)  # without the optimisers' moments, which belong to another opponent
    treated.step, treated.position, treated.seconds = state.step, state.position, state.seconds
    return changed, treated


def recipe_at(run: Run, step: int) -> tuple[Recipe, PlannedFix | None]:
    """The recipe that a run's checkpoint of a step was trained by, and the treatment that follows it at once, if one
    does: its checkpoint is of the moment before."""
    recipe, before = run.read_recipe(), read_recipe_file(run.path / BEFORE)
    fields = {name for row in treatments(run.entries()) for name in row["changes"]}
    recipe = recipe.replace(**{name: getattr(before, name) for name in fields})
    valid = treatments(run.history())  # what was cut off does not count
    for row in valid:
        if row["step"] < step:
            recipe = recipe.replace(**row["changes"])
    return recipe, next((PlannedFix.from_row(row) for row in valid if row["step"] == step), None)


def keep_healthy(run: Run, recipe: Recipe, state: State, share: float) -> None:
    """Keep a state in which nothing was suspicious, a tenth of the budget after the one before. The last ones stay, and
    those that a treatment went back to."""
    folder = run.path / "healthy"
    saved = [m for m in manifests(folder) if m.step <= state.step]
    if saved and int(SAVES * share * saved[-1].step / state.step) == int(SAVES * share):
        return
    state.check()
    with writing(folder, run.fix):
        folder.mkdir(exist_ok=True)
    manifest = {"step": state.step, "seconds": state.seconds, "position": state.position, "score": None}
    checkpoint.save(folder, state.tensors(), manifest, run.fix)
    used = {row["back_to"] for row in treatments(run.entries())}
    for old in saved[: max(0, len(saved) + 1 - SAVED)]:
        if old.step not in used:
            checkpoint.remove(folder, old)
