"""Train a recipe, and resume a run."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import torch

from sparring.assemble.branch import begin_with
from sparring.assemble.build import HeldOut, training_data
from sparring.assemble.start import BEFORE, progress_of, resolve_auto, start_state
from sparring.assemble.state import State, find_checkpoint
from sparring.base.components import trusted
from sparring.base.device import find_device, prepared, thread_count
from sparring.base.errors import UserError
from sparring.base.workers import (
    Workers,
    joined,
    may_restart,
    restarts,
    workers,
)
from sparring.data.samples import Data
from sparring.doctor import autopilot
from sparring.doctor.autopilot import PlannedFix
from sparring.doctor.watch import Watch, make_watch
from sparring.recipe import DEFAULT, Recipe, load_recipe
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.run.environment import environment
from sparring.run.log import RESUME
from sparring.training.agreement import check_equal_conditions, check_equal_states
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

    Processes that torchrun started train together, each on its part of every batch; the first one writes. Workers that
    torchrun restarts continue the run in `out` from its last checkpoint.

    Raises:
        UserError: an argument or the data is wrong, the disk cannot be written, or the workers differ.
        NotFiniteError: the training met NaN or infinity; the run keeps its last good checkpoint.
        Interrupted: Ctrl-C; the run has a checkpoint of its last step.
        WorkerError: another worker ended, is late or differs in its state.
    """
    if may_restart() and out is None:
        raise UserError("give --out RUN, so that restarted workers find the run that they continue")
    if restarts() and out is not None and (Path(out) / "recipe.toml").exists():
        return resume(out, trust=trust, until=until)
    name = recipe if isinstance(recipe, str) else "run"
    chosen = (load_recipe(recipe) if isinstance(recipe, str) else recipe).replace(**changes)
    device = find_device(chosen.device)
    with prepared(device), trusted(trust), joined(device) as group:
        data = _data_in_turn(chosen, group)
        chosen = resolve_auto(chosen, data, device)
        check_equal_conditions(chosen, data)
        with thread_count(1):  # so that the initial weights depend on no timing
            state = start_state(chosen, data, device)
        begin_with(state, chosen.start)
        held_out = HeldOut(chosen, data)
        # before the run directory, so that a mistake leaves no directory behind
        scorer, watch = make_observers(chosen, data, state, held_out)
        threads = Threads(chosen, data, device)
        threads.start(chosen, state, 0.0)
        path = group.from_first(Path(out) if out else new_folder(Path(name).stem))
        with ExitStack() as held:
            with group.led() as leads:
                if leads:
                    run = Run.create(path, chosen, data, environment(device))
                    held.enter_context(run.locked())
                    state.save(run, None, chosen.keep)
                    threads.record(run, state)
            run = Run.open(path)
            gallery = Gallery(run, data, held_out) if group.first else None
            train_on(Session(run, chosen, data, state, gallery, scorer, watch, until, threads))
    return path


def _data_in_turn(recipe: Recipe, group: Workers) -> Data:
    """The training data; the first worker decodes it into the cache before the others read it."""
    with group.led() as leads:
        data = training_data(recipe) if leads else None
    return data or training_data(recipe)


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
    device = find_device(run.read_recipe().device)
    with prepared(device), trusted(trust), joined(device) as group, ExitStack() as held:
        with group.led() as leads:
            if leads:
                held.enter_context(run.locked())
        manifest = find_checkpoint(run)
        recipe, pending = recipe_at(run, manifest.step)
        budgets = {"steps": steps, "minutes": minutes, "wall_minutes": wall_minutes}
        if new := {name: budget for name, budget in budgets.items() if budget}:
            kept = recipe.budgets if len(recipe.budgets) > 1 else {}
            recipe = recipe.replace(**{**kept, **new})
        data = _data_in_turn(recipe, group)
        digest, _ = run.read_data()
        if data.digest != digest:
            mismatch = f"data {recipe.data!r} is not what {run.path} was trained on"
            raise UserError(f"{mismatch}; put the old data back, or start a new run: sparring train")
        check_equal_conditions(recipe, data)
        state = start_state(recipe, data, device)
        state.restore(manifest, checkpoint.load(run.checkpoints, manifest))
        check_equal_states(state)
        if progress_of(recipe, state) >= 1:
            ended = f"{run.path} has reached its budget at step {state.step}"
            raise UserError(f"{ended}; to train longer: sparring resume {run.path} {recipe.longer(state.step)}")
        threads, began_with = Threads(recipe, data, device), run.read_environment()
        began = 0 if recipe.timed else int(began_with.get("threads", 0))
        threads.start(recipe, state, progress_of(recipe, state), began)
        with group.led() as leads:
            if leads:
                state, recipe = _prepare_resume(run, recipe, pending, data, state, device)
                threads.record(run, state)
        held_out = HeldOut(recipe, data)
        scorer, watch = make_observers(recipe, data, state, held_out)
        gallery = Gallery(run, data, held_out) if group.first else None
        train_on(Session(run, recipe, data, state, gallery, scorer, watch, until, threads))
    return run.path


def _prepare_resume(
    run: Run, recipe: Recipe, pending: PlannedFix | None, data: Data, state: State, device: torch.device
) -> tuple[State, Recipe]:
    """Tell what has changed since the run began, remove what its last checkpoint does not know, apply a pending fix."""
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
    return state, recipe


def make_observers(recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> tuple[Scorer | None, Watch | None]:
    """The scorer and the doctor's watch that the recipe asks for, or None; preparing them is not training time.

    Of several workers, only the first one has them. UserError: several workers cannot apply fixes.
    """
    if workers().several and recipe.doctor == "treat":
        raise UserError("doctor='treat' changes networks in one process only; with several workers: --doctor watch")
    if not workers().first:
        return None, None
    scorer = Scorer(recipe, data, held_out) if recipe.evaluate_every else None
    return scorer, make_watch(recipe, data, state, held_out)


def recipe_at(run: Run, step: int) -> tuple[Recipe, PlannedFix | None]:
    """The recipe at a checkpoint, and the doctor's fix that is logged at that step but not applied yet, if any."""
    return autopilot.recipe_at(run, step) if (run.path / BEFORE).exists() else (run.read_recipe(), None)


def new_folder(name: str) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, ... that does not exist."""
    return next(p for i in range(1, 10**6) if not (p := Path("runs") / f"{name}-{i:03d}").exists())
