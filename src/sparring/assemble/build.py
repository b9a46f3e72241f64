"""Build networks, players and the game from a recipe."""

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
    """The recipe's task for data of this form."""
    return _task(recipe).for_data(form)


def _task(recipe: Recipe) -> Task:
    return make(recipe.task, tasks, inputs, degrade, schedules)  # type: ignore[no-any-return]


def training_data(recipe: Recipe) -> Data:
    """The recipe's training data, in the layout of its task."""
    return load_data(recipe.data, recipe.size, recipe.held_out, recipe.fit, _task(recipe).layout)


def held_out_data(recipe: Recipe, train: Data | None = None) -> Data | None:
    """The recipe's held-out data, or None; `train`: its training data, if already loaded."""
    return load_held_out(recipe.data, recipe.size, recipe.held_out, recipe.fit, _task(recipe).layout, train)


@dataclass(frozen=True)
class HeldOut:
    """A recipe's held-out samples, loaded on first use."""

    recipe: Recipe
    train: Data | None = None

    @cached_property
    def data(self) -> Data | None:
        return held_out_data(self.recipe, self.train)


def build_generator(recipe: Recipe, form: Form) -> nn.Module:
    """The generator with random weights, seeded by the recipe."""
    torch.manual_seed(derive_seed(recipe.seed, "generator"))
    network: Any = build_task(recipe, form).build_generator(_maker(recipe.generator))
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def build_discriminator(recipe: Recipe, form: Form) -> nn.Module:
    """The discriminator with random weights, seeded by the recipe."""
    torch.manual_seed(derive_seed(recipe.seed, "discriminator"))
    network: Any = build_task(recipe, form).build_discriminator(_maker(recipe.discriminator))
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def _maker(text: str) -> Make:
    return lambda context, given: make(text, networks, context=context, given=given)


def build_loss(recipe: Recipe) -> Loss:
    """The adversarial loss. UserError: it lacks a member of `Loss`."""
    loss: Loss = make(recipe.loss, losses, schedules)
    missing = [name for name in ("relative", "undecided", "discriminator", "generator") if not hasattr(loss, name)]
    if missing:
        needed = "relative, undecided, discriminator(real, fake) and generator(real, fake)"
        raise UserError(f"loss {recipe.loss!r} has no {' and no '.join(missing)}; a loss needs {needed}")
    return loss


def build_game(recipe: Recipe, form: Form, device: torch.device) -> Game:
    """The game on the device: task, losses, networks, optimisers, penalties and augmentation.

    Raises:
        UserError: a component's text is wrong, or the component does not fit the data.
    """
    extras = make_all(recipe.penalties, penalties, schedules, augment, extractors)
    wrong = [extra for extra in extras if not isinstance(extra, (Term, Constraint))]
    if wrong:
        raise UserError(f"penalties: {wrong[0]!r} is neither a Penalty nor a Constraint; derive it from one of them")
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
    """A recipe field that holds a schedule or a constant, at least 0."""
    text = getattr(recipe, name).strip()
    try:
        found: Scheduled = float(text)
    except ValueError:
        found = make(text, schedules)
    check_scheduled("recipe", name, found, low=0)
    return found


def build_turns(recipe: Recipe) -> TurnRule:
    """The turn rule: which player steps when."""
    return make(recipe.turns, turns)  # type: ignore[no-any-return]


def build_ema(recipe: Recipe) -> ema.EMA | None:
    """The moving average of the generator's weights, or None."""
    return make(recipe.ema, ema) if recipe.ema.strip() else None
