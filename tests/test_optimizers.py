"""Optimisers as text, and betas that change over a run."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sparring.base.components import make
from sparring.base.errors import UserError
from sparring.game import optimizers, schedules
from sparring.game.game import Game, Player
from sparring.game.losses import NonSaturating
from sparring.game.match import Moment
from sparring.game.optimizers import Adam, AdamW
from sparring.game.schedules import Cosine, Linear
from sparring.game.turns import Alternating, differentiable_update
from sparring.networks import MLPDiscriminator, MLPGenerator
from sparring.run.checkpoint import optimizer_tensors, restore_optimizer
from sparring.tasks import Generate

BETAS = (0.0, Cosine(0.9, 0.99, finish=0.4))


def test_scheduled_betas_as_text() -> None:
    written = make("Adam(lr=1e-3, betas=(0.0, Cosine(0.9, 0.99, finish=0.4)))", optimizers, schedules)
    assert written == Adam(lr=1e-3, betas=BETAS)
    for optimizer in (written, AdamW(betas=(Linear(0.5, 0.0), 0.99))):
        assert make(repr(optimizer), optimizers, schedules) == optimizer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Adam(betas=(0.0, Cosine(0.9, 1.0)))", "Adam: betas=.*must be below 1"),
        ("AdamW(betas=(Linear(-0.1, 0.5), 0.9))", "AdamW: betas=-0.1 must be a number, at least 0"),
        ("Adam(betas=(0.0, SGD()))", "Adam: betas=SGD.* must be a number"),
        ("Adam(betas=Cosine(0.9, 0.99))", "must be two numbers or schedules"),
        ("Adam(lr=Cosine(1, 0))", "Adam: lr=Cosine.* must be a number"),
    ],
)
def test_wrong_betas(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make(text, optimizers, schedules)
    assert "\n" not in str(caught.value)


def small_game() -> Game:
    torch.manual_seed(0)
    generator, discriminator = MLPGenerator(4, (1, 8, 8), hidden=(8,)), MLPDiscriminator((1, 8, 8), hidden=(8,))
    optimizer = Adam(lr=1e-3, betas=BETAS)
    players = (
        Player(generator, optimizer(generator.parameters())),
        Player(discriminator, Adam()(discriminator.parameters())),
    )
    return Game(Generate(), NonSaturating(), *players)


def test_betas_follow_progress_also_after_resuming() -> None:
    game = small_game()
    batch = {"real": torch.randn(4, 1, 8, 8), "latent": torch.randn(4, 4)}
    for progress, expected in ((0.0, 0.9), (0.2, 0.945), (0.4, 0.99), (1.0, 0.99)):
        Alternating()(game, lambda: [batch], Moment(0, progress))
        assert game.generator.optimizer.param_groups[0]["betas"] == pytest.approx((0.0, expected))
        assert game.discriminator.optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    resumed = small_game()
    for side in ("generator", "discriminator"):
        ours, theirs = game.player(side), resumed.player(side)  # type: ignore[arg-type]
        theirs.network.load_state_dict(ours.network.state_dict())
        saved = {name: tensor.clone() for name, tensor in optimizer_tensors(ours.optimizer).items()}
        restore_optimizer(theirs.optimizer, saved, side)
    for each in (game, resumed):
        Alternating()(each, lambda: [batch], Moment(5, 0.1))
    for a, b in zip(game.generator.network.parameters(), resumed.generator.network.parameters()):
        assert torch.equal(a, b)
    assert game.generator.optimizer.param_groups[0]["betas"] == resumed.generator.optimizer.param_groups[0]["betas"]


def test_unrolled_steps_use_the_current_betas() -> None:
    game = small_game()
    game.generator, game.discriminator = game.discriminator, game.generator  # the scheduled one is unrolled through
    optimizer, network = game.discriminator.optimizer, game.discriminator.network
    expected = {n: p.detach().clone() for n, p in network.named_parameters()}
    gradients = {n: torch.randn_like(p) for n, p in network.named_parameters()}
    for progress in (0.0, 0.4):
        game.discriminator.set_learning_rate(1.0, progress)
        expected = differentiable_update(optimizer, network)(expected, gradients)
        for name, parameter in network.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizer.step()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name])


def test_whole_numbers_as_betas() -> None:
    optimizer = make("Adam(betas=(0, 0.9))", optimizers, schedules)([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.param_groups[0]["betas"] == (0.0, 0.9)


@pytest.mark.slow
def test_the_optimisers_do_not_load_the_compiler() -> None:
    script = """
import sys, torch
from sparring.game import optimizers
for name in optimizers.__all__:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = getattr(optimizers, name)()([weight])
    for _ in range(2):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert type(optimizer).__name__ == name
assert "torch._dynamo" not in sys.modules, "importing it takes longer than a second"
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", optimizers.__all__)
def test_steps_are_bitwise_those_of_torch(name: str) -> None:
    found = []
    for kind in (getattr(optimizers, name).kind, getattr(torch.optim, name)):
        network = MLPDiscriminator((1, 8, 8), hidden=(8,))
        torch.nn.utils.vector_to_parameters(torch.linspace(-1, 1, 8 * 64 + 8 + 8 + 1), network.parameters())
        optimizer = kind(network.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.linspace(-1, 1, 128).view(2, 1, 8, 8)).square().sum().backward()
            optimizer.step()
        found.append(torch.nn.utils.parameters_to_vector(network.parameters()))
    assert torch.equal(*found)
