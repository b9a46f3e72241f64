"""Train a recipe, and resume a run."""

from __future__ import annotations

import sys
from pathlib import Path

from sparring.assemble.branch import begin_with
from sparring.assemble.build import HeldOut, training_data
from sparring.assemble.start import BEFORE, progress_of, resolve_auto, start_state
from sparring.assemble.state import State, find_checkpoint
from sparring.base.components import trusted
from sparring.base.device import find_device, prepared, thread_count
from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.doctor import autopilot
from sparring.doctor.autopilot import PlannedFix
from sparring.doctor.watch import Watch, make_watch
from sparring.recipe import DEFAULT, Recipe, load_recipe
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.run.environment import environment
from sparring.run.log import RESUME
from sparring.training.gallery import Gallery
from sparring.training.loop import Session, train_on
from sparring.training.scoring import Scorer
from sparring.training.threads import Threads


def train(
    recipe: str | Recipe = DEFAULT,
    *,
    out: str | Path | None = None,
    trust: bool = False,
    until: float = 1.0,
    **changes: object,
) -> Path:
    """Train a recipe to the end of its budget; return the run directory.

    Args:
        recipe: name (see `sparring.recipe_names()`), path of a TOML file, or a Recipe.
        out: run directory to create; default: a new one below `runs/`.
        trust: allow component texts to import the user's own code.
        until: share of the budget to stop at, in (0, 1]; `resume` continues from there bit by bit.
        changes: fields of the recipe, such as `steps=2000` or `loss="Hinge()"`.

    Returns:
        The run directory.

    Raises:
        UserError: an argument or the data is wrong, or the disk cannot be written.
        NotFiniteError: the training met NaN or infinity; the run keeps its last good checkpoint.
        Interrupted: Ctrl-C; the run has a checkpoint of its last step.
    """
    name = recipe if isinstance(recipe, str) else "run"
    chosen = (load_recipe(recipe) if isinstance(recipe, str) else recipe).replace(**changes)
    device = find_device(chosen.device)
    with prepared(device), trusted(trust):
        data = training_data(chosen)
        chosen = resolve_auto(chosen, data, device)
        with thread_count(1):  # so that the initial weights depend on no timing
            state = start_state(chosen, data, device)
        begin_with(state, chosen.start)
        held_out = HeldOut(chosen, data)
        # before the run directory, so that a mistake leaves no directory behind
        scorer, watch = make_observers(chosen, data, state, held_out)
        threads = Threads(chosen, data, device)
        threads.start(chosen, state, 0.0)
        run = Run.create(Path(out) if out else new_folder(Path(name).stem), chosen, data, environment(device))
        with run.locked():
            threads.record(run, state)
            state.save(run, None, chosen.keep)
            train_on(Session(run, chosen, data, state, Gallery(run, data, held_out), scorer, watch, until, threads))
    return run.path


def resume(
    path: str | Path,
    *,
    steps: int = 0,
    minutes: float = 0.0,
    wall_minutes: float = 0.0,
    trust: bool = False,
    until: float = 1.0,
) -> Path:
    """Resume a run from its last checkpoint, and train to the end of its budget.

    Without a new budget the run keeps its own. A new budget replaces a single old one. Of several, it
    replaces the one of its kind, or is added.

    Args:
        path: run directory.
        steps: new budget in steps, counted from the start of the run; 0: none.
        minutes: new budget in minutes of training, counted from the start of the run; 0: none.
        wall_minutes: new budget in minutes of wall time, as `Recipe.wall_minutes`; 0: none.
        trust: allow component texts to import the user's own code.
        until: share of the budget to stop at, in (0, 1].

    Returns:
        The run directory.

    Raises:
        UserError: there is no such run, its data changed, its budget is spent, or the disk cannot be written.
        NotFiniteError: the training met NaN or infinity; the run keeps its last good checkpoint.
        Interrupted: Ctrl-C; the run has a checkpoint of its last step.
    """
    run = Run.open(Path(path))
    with run.locked():
        manifest = find_checkpoint(run)
        recipe, pending = recipe_at(run, manifest.step)
        budgets = {"steps": steps, "minutes": minutes, "wall_minutes": wall_minutes}
        if new := {name: budget for name, budget in budgets.items() if budget}:
            kept = recipe.budgets if len(recipe.budgets) > 1 else {}
            recipe = recipe.replace(**{**kept, **new})
        device = find_device(recipe.device)
        with prepared(device), trusted(trust):
            data = training_data(recipe)
            digest, _ = run.read_data()
            if data.digest != digest:
                mismatch = f"data {recipe.data!r} is not what {run.path} was trained on"
                raise UserError(f"{mismatch}; put the old data back, or start a new run: sparring train")
            state = start_state(recipe, data, device)
            state.restore(manifest, checkpoint.load(run.checkpoints, manifest))
            if progress_of(recipe, state) >= 1:
                ended = f"{run.path} has reached its budget at step {state.step}"
                raise UserError(f"{ended}; to train longer: sparring resume {run.path} {recipe.longer(state.step)}")
            threads, began_with = Threads(recipe, data, device), run.read_environment()
            began = 0 if recipe.timed else int(began_with.get("threads", 0))
            threads.start(recipe, state, progress_of(recipe, state), began)
            for change in run.changes():
                print(f"Note: since this run began, {change}", file=sys.stderr)
            run.clean_up(state.step)
            run.rows()  # report a damaged log now, not after hours of training
            if pending is not None:
                recipe, state = autopilot.apply_fix(pending, run, recipe, data, state)
            run.write_recipe(recipe)
            now = environment(device)
            if recipe.timed:
                del now["threads"]  # a choice by time
            changed = run.changed_environment(now)
            if changed:
                print(f"Note: {', '.join(changed)}; results may differ from an uninterrupted run", file=sys.stderr)
            run.append(state.row(RESUME))
            threads.record(run, state)
            held_out = HeldOut(recipe, data)
            scorer, watch = make_observers(recipe, data, state, held_out)
            train_on(Session(run, recipe, data, state, Gallery(run, data, held_out), scorer, watch, until, threads))
    return run.path


def make_observers(recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> tuple[Scorer | None, Watch | None]:
    """The scorer and the doctor's watch that the recipe asks for, or None; preparing them is not training time."""
    scorer = Scorer(recipe, data, held_out) if recipe.evaluate_every else None
    return scorer, make_watch(recipe, data, state, held_out)


def recipe_at(run: Run, step: int) -> tuple[Recipe, PlannedFix | None]:
    """The recipe at a checkpoint, and the doctor's fix that is logged at that step but not applied yet, if any."""
    return autopilot.recipe_at(run, step) if (run.path / BEFORE).exists() else (run.read_recipe(), None)


def new_folder(name: str) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, ... that does not exist."""
    return next(p for i in range(1, 10**6) if not (p := Path("runs") / f"{name}-{i:03d}").exists())
