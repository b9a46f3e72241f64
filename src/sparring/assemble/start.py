"""The start of a run: resolve `auto` fields, build the initial state, measure the spent budget."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sparring.assemble.build import build_ema, build_game, build_task, build_turns
from sparring.assemble.check import check_fit
from sparring.assemble.state import State
from sparring.base.device import find_precision
from sparring.base.errors import UserError
from sparring.base.workers import alone, workers
from sparring.data.samples import Data
from sparring.game.augment import chosen_augment
from sparring.game.turns import Checked
from sparring.recipe import Recipe
from sparring.run.clock import Clock

BEFORE = "recipe-before-treatment.toml"  # the recipe before the doctor's first change


def resolve_auto(recipe: Recipe, data: Data, device: torch.device) -> Recipe:
    """Replace every `auto` field by its value for this data, task and device, so that a resumed run keeps it.

    Two fields stay `auto`: `device`, as a run may be resumed on another machine, and `extractor`, which the evaluation
    chooses for the samples that it compares.
    """
    values: dict[str, Callable[[], str]] = {
        "precision": lambda: find_precision("auto", device),
        "augment": lambda: chosen_augment(data.form.shape, data.total),
        "metrics": lambda: "usual" if build_task(recipe, data.form).scores else "frechet",
    }
    return recipe.replace(**{name: values[name]() for name in auto_fields(recipe)})


def auto_fields(recipe: Recipe) -> list[str]:
    """The fields that `resolve_auto` replaces."""
    return [name for name in ("precision", "augment", "metrics") if getattr(recipe, name).strip() == "auto"]


def start_state(recipe: Recipe, data: Data, device: torch.device) -> State:
    """The state before the first step, with random weights.

    Raises:
        UserError: a component's text is wrong, or the components do not fit each other or the data.
    """
    if recipe.mirror and data.form.is_points:
        raise UserError("mirror=True needs images, the data are points; leave --mirror out")
    parts = recipe.micro_batches * workers().count
    if recipe.batch_size % parts:
        fit = recipe.batch_size // parts * parts or parts
        given = f"batch_size={recipe.batch_size} cannot be divided among {workers().count} workers"
        by = f" with {recipe.micro_batches} micro-batches each" if recipe.micro_batches > 1 else ""
        raise UserError(f"{given}{by}; choose a multiple of {parts}, such as --batch-size {fit}")
    game = build_game(recipe, data.form, device)
    with alone():
        check_fit(game, data, device, recipe.batch_size // parts)
    turns = build_turns(recipe)
    if isinstance(turns, Checked):
        turns.check(game)
    for component in game.stateful.values():
        component.restore(dict(component.memory), device)  # the same places as in a resumed run
    ema = build_ema(recipe)
    return State(game, ema.start(game.generator.network) if ema else None)


def progress_of(recipe: Recipe, state: State) -> float:
    """The share of the budget that a state has spent, in [0, 1] (see `share_spent`)."""
    return share_spent(recipe, state.step, state.clock)


def share_spent(recipe: Recipe, step: int, clock: Clock) -> float:
    """The share of the budget spent at a step, in [0, 1]; of several budgets the largest share."""
    spent = {"steps": step, "minutes": clock.seconds / 60, "wall_minutes": clock.wall_seconds / 60}
    return min(max(spent[name] / budget for name, budget in recipe.budgets.items()), 1.0)
