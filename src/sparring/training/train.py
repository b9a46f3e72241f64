"""Train and resume runs."""

from __future__ import annotations

import sys
from pathlib import Path

from sparring.assemble.branch import begin_with
from sparring.assemble.build import HeldOut, training_data
from sparring.assemble.start import BEFORE, progress_of, resolve_auto, start_state
from sparring.assemble.state import State, find_checkpoint
from sparring.base.components import trusted
from sparring.base.device import find_device, prepared
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
        recipe: a name (see `sparring.recipe_names()`), the path of a TOML file, or a Recipe.
        out: the run directory to make; the default is a new one below `runs/`.
        trust: may component texts import the user's own code?
        until: the share of the budget to stop at, with a checkpoint from which `resume` goes on to the bit.
        changes: fields of the recipe, such as `steps=2000` or `loss="Hinge()"`.

    Raises:
        UserError: a mistake in the arguments, the data or the disk.
        NotFiniteError: NaN or infinity; the last good checkpoint is kept.
        Interrupted: by Ctrl-C, after a checkpoint.
    """
    name = recipe if isinstance(recipe, str) else "run"
    chosen = (load_recipe(recipe) if isinstance(recipe, str) else recipe).replace(**changes)
    device = find_device(chosen.device)
    with prepared(device), trusted(trust):
        data = training_data(chosen)
        chosen = resolve_auto(chosen, data, device)
        state = start_state(chosen, data, device)
        begin_with(state, chosen.start)
        held_out = HeldOut(chosen, data)
        # before there is a run, so that mistakes leave none behind
        scorer, watch = make_observers(chosen, data, state, held_out)
        run = Run.create(Path(out) if out else new_folder(Path(name).stem), chosen, data, environment(device))
        with run.locked():
            state.save(run, None, chosen.keep)
            train_on(Session(run, chosen, data, state, Gallery(run, data, held_out), scorer, watch, until))
    return run.path


def resume(path: str | Path, *, steps: int = 0, minutes: float = 0.0, trust: bool = False, until: float = 1.0) -> Path:
    """Go on with a run from its last checkpoint to the end of its budget. `steps` or `minutes` is a new budget, counted
    from the run's start; 0 keeps the one it has. `trust`, `until` and the errors are those of `train`."""
    run = Run.open(Path(path))
    with run.locked():
        manifest = find_checkpoint(run)
        recipe, pending = recipe_at(run, manifest.step)
        if steps or minutes:
            both = recipe.steps and recipe.minutes  # the budget that was not named stays, where there were two
            budget = (steps or recipe.steps, minutes or recipe.minutes) if both else (steps, minutes)
            recipe = recipe.replace(steps=budget[0], minutes=budget[1])
        device = find_device(recipe.device)
        with prepared(device), trusted(trust):
            data = training_data(recipe)
            digest, _ = run.read_data()
            if data.digest != digest:
                known = f"data {recipe.data!r} is not what {run.path} was trained on"
                raise UserError(f"{known}; put it back, or train anew")
            state = start_state(recipe, data, device)
            state.restore(manifest, checkpoint.load(run.checkpoints, manifest))
            if progress_of(recipe, state) >= 1:
                more = f"--steps {2 * state.step}" if recipe.steps else f"--minutes {2 * recipe.minutes:g}"
                ended = f"{run.path} has reached its budget at step {state.step}"
                raise UserError(f"{ended}; to go further: sparring resume {run.path} {more}")
            for change in run.changes():
                print(f"Note: since this run began, {change}", file=sys.stderr)
            run.clean_up(state.step)
            run.rows()  # a damaged log is told now, not after hours
            if pending is not None:
                recipe, state = autopilot.carry_out(pending, run, recipe, data, state)
            run.write_recipe(recipe)
            changed = run.changed_environment(environment(device))
            if changed:
                print(f"Note: {', '.join(changed)}; the bits may differ from an uninterrupted run", file=sys.stderr)
            run.append(state.row(RESUME))
            held_out = HeldOut(recipe, data)
            scorer, watch = make_observers(recipe, data, state, held_out)
            train_on(Session(run, recipe, data, state, Gallery(run, data, held_out), scorer, watch, until))
    return run.path


def make_observers(recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> tuple[Scorer | None, Watch | None]:
    """What evaluates a run and what probes it as it trains, where the recipe wants that. Preparing these is not
    training time."""
    scorer = Scorer(recipe, data, held_out) if recipe.evaluate_every else None
    return scorer, make_watch(recipe, data, state, held_out)


def recipe_at(run: Run, step: int) -> tuple[Recipe, PlannedFix | None]:
    """The recipe that a checkpoint was trained by, and what the doctor prescribed right there, if it did."""
    return autopilot.recipe_at(run, step) if (run.path / BEFORE).exists() else (run.read_recipe(), None)


def new_folder(name: str) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, ... that does not exist."""
    return next(p for i in range(1, 10**6) if not (p := Path("runs") / f"{name}-{i:03d}").exists())
