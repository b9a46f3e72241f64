"""Tests of every public component, found by its name in `__all__`; a new component is tested automatically."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from sparring import networks, tasks
from sparring.assemble.build import build_game, build_turns
from sparring.base.components import make
from sparring.data.form import Form
from sparring.game import augment, ema, inputs, losses, optimizers, penalties, schedules, turns
from sparring.game.augment import InstanceNoise
from sparring.game.game import SIDES, Game
from sparring.game.losses import equilibrium
from sparring.game.match import Moment, Side
from sparring.game.memory import Stateful
from sparring.game.penalties.base import Constraint, Penalty, Term
from sparring.game.schedules import at
from sparring.metrics import extractors
from sparring.networks import PatchDiscriminator
from sparring.networks.critic import Critic
from sparring.networks.images import ImageGenerator
from sparring.recipe import Recipe
from sparring.tasks import degrade

HOMES = (augment, degrade, ema, inputs, losses, optimizers, penalties, schedules, tasks, turns)
COMPONENTS = [(home, name) for home in HOMES for name in home.__all__]
FORM = Form((1, 16, 16), ("a", "b"), counts=(3, 1))
RECIPE = Recipe(
    generator="DCGANGenerator(width=4)",
    discriminator="DCGANDiscriminator(width=4)",
    augment="",
    precision="fp32",
    batch_size=8,
)
RESTORED = {
    "task": "Restore(degrade=Noise(25))",
    "generator": "UNetGenerator(width=4)",
    "discriminator": "PatchDiscriminator(width=4)",
}
# recipe fields that a component requires besides its defaults
NEEDS: dict[str, dict[str, str]] = {
    "AuxiliaryClassifier": {
        "task": "Generate(latent=Normal(5), classes=True)",
        "discriminator": "DCGANDiscriminator(width=4, condition='classifier')",
    },
    "PairedFeatureMatching": RESTORED,
    "Perceptual": RESTORED,
    "MutualInformation": {"task": "Generate(latent=Normal(5), codes=(Categorical(3), Continuous(2)))"},
}


def names(module: ModuleType, kind: type = object) -> list[str]:
    return [name for name in module.__all__ if issubclass(getattr(module, name), kind)]


def game_of(**fields: str) -> Game:
    return build_game(RECIPE.replace(**{"task": "Generate(latent=Normal(5))", **fields}), FORM, torch.device("cpu"))


def batch_of(game: Game, count: int = 8, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    real = torch.rand(count, *FORM.shape) * 2 - 1
    return dict(game.task.prepare({"real": real, "label": torch.arange(count) % 2, **game.task.draw(count)}))


def flat(network: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in network.state_dict().values()])


@pytest.mark.parametrize(("home", "name"), COMPONENTS, ids=lambda x: x if isinstance(x, str) else "")
def test_default_text_and_documentation(home: ModuleType, name: str) -> None:
    component = make(name, home)
    assert make(repr(component), home, *HOMES, extractors) == component, "its repr is its configuration text"
    assert hash(repr(copy.deepcopy(component))) == hash(repr(component))
    for field in dataclasses.fields(component):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(component, field.name, 3)
    documentation = inspect.getdoc(getattr(home, name)) or ""
    assert len(documentation) > 20
    assert all(p.default is not p.empty for p in inspect.signature(getattr(home, name)).parameters.values())


@pytest.mark.parametrize("name", losses.__all__)
def test_losses_train_both_players(name: str) -> None:
    loss = at(getattr(losses, name)(), 0.5)
    real, fake = torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert loss.discriminator(real, fake).shape == loss.generator(real, fake).shape == (7,)
    for value in (loss.discriminator(real, fake), loss.generator(real, fake)):
        (gradient,) = torch.autograd.grad(value.sum(), fake)
        assert gradient.abs().sum() > 0
    assert len(equilibrium(loss)) == 2
    game = game_of(loss=name)
    for side in SIDES:
        assert game.take_turn(side, [batch_of(game)], Moment(3, 0.5)).gradient_norm > 0


@pytest.mark.parametrize("name", names(penalties, Term))
def test_penalties_are_finite_terms_of_their_own_side(name: str) -> None:
    game = game_of(penalties=name, **NEEDS.get(name, {}))
    (penalty,) = game.penalties
    assert set(penalty.sides) <= set(get_args(Side))
    if isinstance(penalty, Stateful):
        penalty.observe({"adversarial": (torch.ones(4), -torch.ones(4))}, game.loss, 4)
    for side in SIDES:
        outcome = getattr(game, f"{side}_outcome")
        network = game.player(side).network.requires_grad_(True)
        terms = {n: v for n, v in outcome(batch_of(game), Moment()).terms.items() if n.endswith(name)}
        assert bool(terms) == (side in penalty.sides)
        for term in terms.values():
            assert term.shape == ()
            assert term.isfinite()
            gradients = torch.autograd.grad(term, list(network.parameters()), allow_unused=True)
            assert sum(g.abs().sum().item() for g in gradients if g is not None) > 0
        network.requires_grad_(False)


@pytest.mark.parametrize("name", names(penalties, Penalty))
def test_penalties_give_one_value_per_sample_or_per_batch(name: str) -> None:
    game = game_of(penalties=name, **NEEDS.get(name, {}))
    batch = batch_of(game)
    made = game.task.generate(game.generator.network, batch)
    for match in game.matches(batch, made, Moment(), *SIDES).values():
        (penalty,) = game.penalties
        assert isinstance(penalty, Penalty)
        for side in penalty.sides:
            assert penalty(match, side).shape in [(8,), (1,)]


@pytest.mark.parametrize("name", names(penalties))
def test_penalties_and_constraints_change_only_the_player_of_the_turn(name: str) -> None:
    game = game_of(penalties=name, **NEEDS.get(name, {}))
    for side in SIDES:
        other = game.player("generator" if side == "discriminator" else "discriminator").network
        before, own = flat(other), flat(game.player(side).network)
        game.take_turn(side, [batch_of(game)], Moment())
        assert torch.equal(before, flat(other))
        assert not torch.equal(own, flat(game.player(side).network))


def test_every_name_in_penalties_is_a_term_or_a_constraint() -> None:
    assert all(issubclass(getattr(penalties, name), (Term, Constraint)) for name in penalties.__all__)


@pytest.mark.parametrize("name", augment.__all__)
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentations(name: str, channels: int) -> None:
    change = make(name, augment)
    if isinstance(change, Stateful):
        change.memory["p"].fill_(0.7)
    images = (torch.rand(6, channels, 16, 12, dtype=torch.float32) * 2 - 1).requires_grad_()
    torch.manual_seed(1)
    changed = change(images, 0.0)
    torch.manual_seed(1)
    assert torch.equal(changed, change(images, 0.0)), "the step's seed determines it"
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)
    (gradient,) = torch.autograd.grad(changed.square().sum(), images, create_graph=True)
    assert gradient.abs().sum() > 0
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    assert second.isfinite().all()
    game = game_of(augment=name, penalties="R1(weight=1)")
    assert game.take_turn("discriminator", [batch_of(game)], Moment()).terms["adversarial/R1"] > 0


def remembering() -> list[tuple[str, str]]:
    found = [("augment", n) for n in names(augment, Stateful)]
    return found + [("penalties", n) for n in names(penalties, Stateful)]


@pytest.mark.parametrize(("field", "name"), remembering())
def test_memories_change_only_after_turns_of_the_discriminator(field: str, name: str) -> None:
    game = game_of(**{field: name})
    (component,) = game.stateful.values()

    def memory() -> dict[str, float]:
        assert all(t.device.type == "cpu" and t.dim() == 0 for t in component.memory.values())
        return {key: tensor.item() for key, tensor in component.memory.items()}

    start = memory()
    game.take_turn("generator", [batch_of(game)], Moment())
    build_turns(RECIPE.replace(turns="Unrolled(depth=2)"))._outcome(game, batch_of(game), Moment())  # type: ignore[attr-defined]
    assert memory() == start
    for step in range(4):
        game.take_turn("discriminator", [batch_of(game, seed=step)], Moment(step))
    assert memory() != start
    assert {key: t.item() for key, t in copy.deepcopy(component).memory.items()} == memory()
    assert all(isinstance(value, float) for value in component.readings().values())


@pytest.mark.parametrize("name", turns.__all__)
def test_turn_rules_move_both_players(name: str) -> None:
    game = game_of()
    before = {side: flat(game.player(side).network) for side in SIDES}
    rule = build_turns(RECIPE.replace(turns=name))
    taken = rule(game, lambda: [batch_of(game)], Moment())
    assert set(taken) == set(SIDES)
    assert all(not torch.equal(before[side], flat(game.player(side).network)) for side in SIDES)
    assert all(p.grad is None or not p.requires_grad for side in SIDES for p in game.player(side).network.parameters())


TRANSLATORS = names(networks, ImageGenerator)


def build(name: str, conditioned: int = 0, latent: int = 5) -> nn.Module:
    """A small network with `conditioned` classes, or a patch discriminator with as many source channels."""
    torch.manual_seed(0)
    given: dict[str, object] = {"classes": conditioned}
    context: tuple[object, ...] = (FORM.shape,)
    if name in TRANSLATORS:
        context = ((4, *FORM.shape[1:]), FORM.shape)
    elif name.endswith("Generator"):
        context = (latent, FORM.shape)
    elif issubclass(getattr(networks, name), PatchDiscriminator):
        given = {"source_channels": conditioned}
    else:
        given["codes"] = 2 if conditioned else 0
    small = "hidden=(12,)" if name.startswith("MLP") else "width=8"
    return make(f"{name}({small})", networks, context=context, given=given)  # type: ignore[no-any-return]


def inputs_of(name: str, conditioned: int) -> list[Tensor]:
    """Six inputs, with labels or sources if `conditioned` is not 0."""
    if name in TRANSLATORS:
        return [torch.randn(6, 4, *FORM.shape[1:])]
    inputs = torch.randn(6, 5) if name.endswith("Generator") else torch.randn(6, *FORM.shape)
    if not conditioned:
        return [inputs]
    patches = issubclass(getattr(networks, name), PatchDiscriminator)
    return [inputs, torch.randn(6, conditioned, *FORM.shape[1:]) if patches else torch.arange(6) % conditioned]


@pytest.mark.parametrize(
    ("name", "conditioned"),
    [(n, conditioned) for n in networks.__all__ for conditioned in (0, 3) if not conditioned or n not in TRANSLATORS],
)
def test_networks(name: str, conditioned: int) -> None:
    network: Any = build(name, conditioned)
    twin = build(name, conditioned)
    torch.manual_seed(1)
    inputs = inputs_of(name, conditioned)
    if not name.endswith("Discriminator"):
        assert network(*inputs).shape == (6, *FORM.shape)
    else:
        assert isinstance(network, (Critic, PatchDiscriminator))
        logits = network.judge(*inputs).logits
        assert logits.shape == (6,) if isinstance(network, Critic) else logits[:, 0].shape == (6,)
        assert torch.equal(network.eval()(*inputs), network(*inputs)), "judging is repeatable"
        network.train()
    with torch.no_grad():  # layers that start at zero, such as residual branches, block gradients of layers before them
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if not name.endswith("Discriminator"):
        network(*inputs).square().sum().backward()
    else:
        output = network.judge(*inputs)  # type: ignore[operator]
        sum(p.square().sum() for p in (output.logits, output.codes) if p is not None).backward()  # type: ignore[union-attr]
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    twin.load_state_dict(network.state_dict())
    assert torch.equal(*(m.eval()(*inputs) for m in (network, twin)))


@pytest.mark.parametrize("name", [n for n in networks.__all__ if n.endswith("Discriminator")])
def test_critics_can_be_differentiated_twice_and_samples_are_independent(name: str) -> None:
    network, images = build(name), torch.randn(5, *FORM.shape, requires_grad=True)
    logits = network(images)
    torch.testing.assert_close(network.eval()(images), torch.cat([network(i[None]) for i in images]))
    network.train()
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    slope.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("name", ["Normal", "Uniform"])
def test_latents(name: str) -> None:
    latent = make(f"{name}(7)", inputs)
    drawn = [latent(5, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert drawn[0].shape == (5, 7) == (5, latent.size)
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], latent(5, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("name", ["Categorical", "Continuous"])
def test_codes(name: str) -> None:
    code = make(name, inputs)
    drawn = code(5, torch.Generator().manual_seed(3))
    assert drawn.shape == (5, code.width)
    assert code.surprise(torch.randn(5, code.parameters), drawn).shape == (5,)


@pytest.mark.parametrize("name", optimizers.__all__)
def test_optimisers_descend(name: str) -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = make(name, optimizers)([weight])
    weight.square().backward()
    optimizer.step()
    assert weight.item() < 1


@pytest.mark.parametrize("name", schedules.__all__)
def test_schedules_are_numbers_over_the_whole_run(name: str) -> None:
    schedule = make(name, schedules)
    assert all(isinstance(schedule(progress), (int, float)) for progress in (0.0, 0.3, 1.0))
    assert at(InstanceNoise(sigma=schedule), 0.3).sigma == schedule(0.3)
