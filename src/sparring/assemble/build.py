"""From a recipe's text to networks, players and a game."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from sparring import networks, tasks
from sparring.base.components import make, make_all
from sparring.base.device import autocast, find_precision
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.form import Form
from sparring.data.load import load_data, load_held_out
from sparring.data.samples import Data
from sparring.game import augment, ema, inputs, losses, optimizers, penalties, schedules, turns
from sparring.game.game import Game, Player, TurnRule
from sparring.game.losses import Loss
from sparring.game.penalties.base import Constraint, Term
from sparring.game.schedules import Scheduled, check_scheduled
from sparring.metrics import extractors
from sparring.recipe import Recipe
from sparring.tasks import degrade
from sparring.tasks.base import Make, Task


def build_task(recipe: Recipe, form: Form) -> Task:
    """What the generator is given and judged by, for data of this form."""
    return _task(recipe).for_data(form)


def _task(recipe: Recipe) -> Task:
    return make(recipe.task, tasks, inputs, degrade, schedules)  # type: ignore[no-any-return]


def training_data(recipe: Recipe) -> Data:
    """What a recipe trains on, in the layout that its task is for."""
    return load_data(recipe.data, recipe.size, recipe.held_out, recipe.fit, _task(recipe).layout)


def held_out_data(recipe: Recipe, train: Data | None = None) -> Data | None:
    """Samples of the same distribution that it does not train on, or None; `train`: what it trains on, if at hand."""
    return load_held_out(recipe.data, recipe.size, recipe.held_out, recipe.fit, _task(recipe).layout, train)


@dataclass(frozen=True)
class HeldOut:
    """The samples that a recipe does not train on, loaded when they are first asked for, and kept."""

    recipe: Recipe
    train: Data | None = None

    @cached_property
    def data(self) -> Data | None:
        return held_out_data(self.recipe, self.train)


def build_generator(recipe: Recipe, form: Form) -> nn.Module:
    """The generator with its random start, which the recipe's seed decides."""
    torch.manual_seed(derive_seed(recipe.seed, "generator"))
    network: Any = build_task(recipe, form).build_generator(_maker(recipe.generator))
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def build_discriminator(recipe: Recipe, form: Form) -> nn.Module:
    """The discriminator with its random start."""
    torch.manual_seed(derive_seed(recipe.seed, "discriminator"))
    network: Any = build_task(recipe, form).build_discriminator(_maker(recipe.discriminator))
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def _maker(text: str) -> Make:
    return lambda context, given: make(text, networks, context=context, given=given)


def build_loss(recipe: Recipe) -> Loss:
    """What the players minimise."""
    return make(recipe.loss, losses, schedules)  # type: ignore[no-any-return]


def build_game(recipe: Recipe, form: Form, device: torch.device) -> Game:
    """Everything that plays, on the device. UserError: a component's text is wrong, or it does not fit the data."""
    extras = make_all(recipe.penalties, penalties, schedules, augment, extractors)
    strange = [extra for extra in extras if not isinstance(extra, (Term, Constraint))]
    if strange:
        raise UserError(f"penalties: {strange[0]!r} is neither a Penalty nor a Constraint; derive it from one of them")
    generator = build_generator(recipe, form).to(device)
    discriminator = build_discriminator(recipe, form).to(device)
    optimizer = make(recipe.generator_optimizer, optimizers, schedules)
    opponent = make(recipe.discriminator_optimizer, optimizers, schedules)
    return Game(
        task=build_task(recipe, form),
        loss=build_loss(recipe),
        generator=Player(generator, optimizer(generator.parameters())),
        discriminator=Player(discriminator, opponent(discriminator.parameters())),
        penalties=[e for e in extras if isinstance(e, Term)],
        constraints=[e for e in extras if isinstance(e, Constraint)],
        augment=make(recipe.augment, augment, schedules) if recipe.augment.strip() else None,
        adversarial=build_schedule(recipe, "adversarial"),
        learning_rate=build_schedule(recipe, "learning_rate"),
        clip_gradients=recipe.clip_gradients,
        autocast=autocast(find_precision(recipe.precision, device), device),
    )


def build_schedule(recipe: Recipe, name: str) -> Scheduled:
    """A field of the recipe that is a schedule, or a number, which holds always; at least 0."""
    text = getattr(recipe, name).strip()
    try:
        found: Scheduled = float(text)
    except ValueError:
        found = make(text, schedules)
    check_scheduled("recipe", name, found, low=0)
    return found


def build_turns(recipe: Recipe) -> TurnRule:
    """The order of the players' turns."""
    return make(recipe.turns, turns)  # type: ignore[no-any-return]


def build_ema(recipe: Recipe) -> ema.EMA | None:
    """The generator's average, if the recipe has one."""
    return make(recipe.ema, ema) if recipe.ema.strip() else None
