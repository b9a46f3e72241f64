"""The game: turns, isolation of the players, gradient accumulation, unrolling, and errors on NaN."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparring.assemble.build import build_loss
from sparring.base.compat import total_norm
from sparring.base.components import trusted
from sparring.base.errors import NotFiniteError, UserError
from sparring.data.form import Form
from sparring.game.augment import InstanceNoise
from sparring.game.finite import FiniteChecks
from sparring.game.game import Game, Player
from sparring.game.losses import NonSaturating, RelativisticPairing, Wasserstein
from sparring.game.match import Match, Moment
from sparring.game.penalties import R1, R2, GradientPenalty, LeCam, WeightClip
from sparring.game.schedules import Linear
from sparring.game.turns import Alternating, Simultaneous, Unrolled
from sparring.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator
from sparring.recipe import Recipe
from sparring.tasks import Generate
from sparring.tasks.base import Make, Task
from sparring.training.step_metrics import turn_metrics

SHAPE = (1, 8, 8)
RULES = [Alternating(), Alternating(n_critic=3), Alternating(n_critic=2, reuse=True), Simultaneous(), Unrolled(depth=2)]


def small_game(networks: str = "mlp", **options: Any) -> Game:
    torch.manual_seed(0)
    generator: nn.Module
    discriminator: nn.Module
    if networks == "mlp":
        generator, discriminator = MLPGenerator(6, SHAPE, hidden=(16,)), MLPDiscriminator(SHAPE, hidden=(16,))
    else:
        generator, discriminator = (
            DCGANGenerator(6, SHAPE, width=4),
            DCGANDiscriminator(SHAPE, width=4, spectral_norm=True),
        )
    return Game(
        **{
            "task": Generate(),
            "loss": NonSaturating(),
            "generator": Player(generator, torch.optim.SGD(generator.parameters(), 0.1)),
            "discriminator": Player(discriminator, torch.optim.SGD(discriminator.parameters(), 0.1)),
            **options,
        }
    )


def batch_of(count: int = 8, seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "real": torch.rand(count, *SHAPE, generator=rng) * 2 - 1,
        "latent": torch.randn(count, 6, generator=rng),
    }


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("networks", ["mlp", "convolutional, with batch statistics and power iterations"])
@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_turn_leaves_the_other_player_unchanged(side: Any, networks: str) -> None:
    game = small_game(networks, penalties=[R1(), R2()], augment=InstanceNoise())
    other = game.player("discriminator" if side == "generator" else "generator")
    own, others = state_of(game.player(side).network), state_of(other.network)
    game.take_turn(side, [batch_of()], Moment())
    assert same(others, state_of(other.network))
    assert not same(own, state_of(game.player(side).network))
    assert all(p.grad is None and not p.requires_grad for p in other.network.parameters())


@pytest.mark.parametrize("side", ["generator", "discriminator"])
@pytest.mark.parametrize("loss", [NonSaturating(), RelativisticPairing()], ids=repr)
def test_four_micro_batches_equal_one_batch(side: Any, loss: Any) -> None:
    whole = batch_of(16)
    parts = [{name: t[i : i + 4] for name, t in whole.items()} for i in range(0, 16, 4)]
    first, second = (small_game(loss=loss, penalties=[R1(weight=2), R2(weight=3)]) for _ in range(2))
    turns = [first.take_turn(side, [whole], Moment()), second.take_turn(side, parts, Moment())]
    for a, b in zip(first.player(side).network.parameters(), second.player(side).network.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-7)
    torch.testing.assert_close(turns[0].terms, turns[1].terms, rtol=1e-5, atol=0, check_dtype=False)
    assert {value.dtype for value in turns[1].terms.values()} == {torch.float64}, "means lose no digits"


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_only_terms_and_logits_outlive_a_micro_batch(side: Any, both: bool) -> None:
    game = small_game("convolutional", penalties=[R1(), LeCam()])
    earlier, alive, matches = [], [], game.matches

    def watched(*arguments: Any) -> dict[str, Match]:
        alive.append(sum(reference() is not None for reference in earlier))
        found = matches(*arguments)
        earlier.extend(weakref.ref(part) for m in found.values() for part in (m, m.fake, m.fake_output.features))
        return found

    game.matches = watched  # type: ignore[method-assign]
    parts = [batch_of(4, seed=i) for i in range(4)]
    turn = game.accumulate_both(parts, Moment())[side] if both else game.accumulate(side, parts, Moment())
    assert alive == [0] * 4
    assert not any(reference() is not None for reference in earlier)
    logits = [tensor for pair in turn.logits.values() for tensor in pair]
    assert [tensor.shape for tensor in logits] == ([(16,)] * 2 if side == "discriminator" else [])
    assert not any(tensor.requires_grad for tensor in [*logits, *turn.terms.values(), turn.gradient_norm])
    assert (turn.samples, turn.matches) == (16, ("adversarial",))


def test_a_lazy_penalty_applies_each_kth_step_with_k_times_its_weight() -> None:
    game = small_game(penalties=[R1(weight=2, every=4)])
    eager = small_game(penalties=[R1(weight=2)])
    terms = [game.discriminator_outcome(batch_of(), Moment(step)).terms for step in range(5)]
    assert ["adversarial/R1" in t for t in terms] == [True, False, False, False, True]
    expected = eager.discriminator_outcome(batch_of(), Moment(0)).terms["adversarial/R1"]
    torch.testing.assert_close(terms[0]["adversarial/R1"], 4 * expected)


def test_the_discriminators_gradient_matches_the_formula() -> None:
    game, batch = small_game(penalties=[R1(weight=10)]), batch_of()
    reference = copy.deepcopy(game.discriminator.network).requires_grad_(True)
    with torch.no_grad():
        fake = game.generator.network(batch["latent"])
    real = batch["real"].clone().requires_grad_()
    logits = reference(real)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    bce = nn.functional.binary_cross_entropy_with_logits
    total = bce(logits, torch.ones(8)) + bce(reference(fake), torch.zeros(8)) + 5 * slope.square().sum((1, 2, 3)).mean()
    total.backward()
    game.accumulate("discriminator", [batch], Moment())
    for ours, theirs in zip(game.discriminator.network.parameters(), reference.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("loss", [NonSaturating(), RelativisticPairing()], ids=repr)
def test_simultaneous_computes_both_gradients_at_the_same_parameters(loss: Any) -> None:
    options = {"loss": loss, "penalties": [R1(), R2()]}
    together, apart = small_game(**options), [small_game(**options), small_game(**options)]
    Simultaneous()(together, lambda: [batch_of()], Moment())
    apart[0].take_turn("discriminator", [batch_of()], Moment())
    apart[1].take_turn("generator", [batch_of()], Moment())
    for side, game in (("discriminator", apart[0]), ("generator", apart[1])):
        expected = state_of(game.player(side).network)  # type: ignore[arg-type]
        torch.testing.assert_close(state_of(together.player(side).network), expected)  # type: ignore[arg-type]


def test_simultaneous_equals_the_notebook_loop() -> None:
    game, batch = small_game(), batch_of()
    generator, discriminator = copy.deepcopy([game.generator.network, game.discriminator.network])
    generator.requires_grad_(True)
    discriminator.requires_grad_(True)
    of_generator = torch.optim.SGD(generator.parameters(), 0.1)
    of_discriminator = torch.optim.SGD(discriminator.parameters(), 0.1)
    bce, ones, zeros = nn.BCELoss(), torch.ones(8), torch.zeros(8)
    made = generator(batch["latent"])  # G steps first; D then uses the same images
    bce(discriminator(made).sigmoid(), ones).backward()
    of_generator.step()
    of_discriminator.zero_grad()
    real, fake = discriminator(batch["real"]), discriminator(made.detach())
    (bce(real.sigmoid(), ones) + bce(fake.sigmoid(), zeros)).backward()
    of_discriminator.step()
    Simultaneous()(game, lambda: [batch], Moment())
    torch.testing.assert_close(game.generator.network.state_dict(), generator.state_dict())
    torch.testing.assert_close(game.discriminator.network.state_dict(), discriminator.state_dict())


@pytest.mark.parametrize("networks", ["mlp", "dcgan"])  # the second has batch and spectral normalisation
def test_reused_images_equal_the_dcgan_loop(networks: str) -> None:
    game, batch = small_game(networks), batch_of()
    generator, discriminator = copy.deepcopy([game.generator.network, game.discriminator.network])
    generator.requires_grad_(True)
    discriminator.requires_grad_(True)
    of_generator = torch.optim.SGD(generator.parameters(), 0.1)
    of_discriminator = torch.optim.SGD(discriminator.parameters(), 0.1)
    bce, ones, zeros = nn.BCEWithLogitsLoss(), torch.ones(8), torch.zeros(8)
    made = generator(batch["latent"])
    real, fake = (_logits(discriminator(images)) for images in (batch["real"], made.detach()))
    (bce(real, ones) + bce(fake, zeros)).backward()
    of_discriminator.step()  # D steps first; G's loss comes from the updated D and the same images
    discriminator.requires_grad_(False)
    power = {name: buffer.clone() for name, buffer in discriminator.named_buffers()}
    bce(_logits(discriminator(made)), ones).backward()
    of_generator.step()
    discriminator.load_state_dict(power, strict=False)  # here G's turn leaves D's buffers as they were
    turns = Alternating(reuse=True)(game, lambda: [batch], Moment())
    assert list(turns) == ["discriminator", "generator"]
    torch.testing.assert_close(game.generator.network.state_dict(), generator.state_dict())
    torch.testing.assert_close(game.discriminator.network.state_dict(), discriminator.state_dict())


def _logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits  # type: ignore[no-any-return]


def test_reuse_runs_the_generator_once_per_step() -> None:
    game = small_game()
    calls: list[object] = []
    game.generator.network.register_forward_hook(lambda *arguments: calls.append(arguments))
    Alternating(reuse=True)(game, lambda: [batch_of()], Moment())
    assert len(calls) == 1
    Alternating()(game, lambda: [batch_of()], Moment())
    assert len(calls) == 3


def test_reuse_with_micro_batches_equals_one_batch() -> None:
    whole, parts = small_game(), small_game()
    batch = batch_of()
    Alternating(reuse=True)(whole, lambda: [batch], Moment())
    split = [{name: tensor[i : i + 4] for name, tensor in batch.items()} for i in (0, 4)]
    Alternating(reuse=True)(parts, lambda: split, Moment())
    for one, other in ((whole.generator, parts.generator), (whole.discriminator, parts.discriminator)):
        torch.testing.assert_close(one.network.state_dict(), other.network.state_dict(), rtol=0, atol=5e-7)


def test_n_critic_counts_the_discriminators_turns() -> None:
    game, taken = small_game(), []
    take_turn = game.take_turn
    game.take_turn = lambda side, *rest: (taken.append(side), take_turn(side, *rest))[1]  # type: ignore[method-assign]
    Alternating(n_critic=3)(game, lambda: [batch_of()], Moment())
    assert taken == ["discriminator"] * 3 + ["generator"]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_rule_updates_both_players(rule: Any) -> None:
    game = small_game()
    before = state_of(game.generator.network), state_of(game.discriminator.network)
    turns = rule(game, lambda: [batch_of(4), batch_of(4, seed=2)], Moment())
    assert set(turns) == {"generator", "discriminator"}
    assert not same(before[0], state_of(game.generator.network))
    assert not same(before[1], state_of(game.discriminator.network))


class Scalar(nn.Module):
    """One number as a network: theta for the generator, w for the discriminator."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, samples: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        return self.value if samples is None else self.value * samples


@dataclass(frozen=True)
class Bilinear(Task):
    """f(theta, w) = theta * w: the generator outputs theta, the critic -w * x; real samples are 0."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {}

    def generate(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"fake": network().reshape(1)}

    def matches(self, network: nn.Module, batch: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Match]:
        def critic(samples: Tensor, condition: Tensor | None) -> Tensor:
            return -network(samples)

        return {"f": Match(critic, torch.zeros(1, dtype=torch.float64), made["fake"])}

    def for_data(self, form: Form) -> Bilinear:
        return self

    def build_generator(self, make: Make) -> nn.Module:
        return Scalar(1.0)

    build_discriminator = build_generator


def bilinear_game(theta: float, w: float, optimizer: Any) -> Game:
    generator, discriminator = Scalar(theta), Scalar(w)
    return Game(
        task=Bilinear(),
        loss=Wasserstein(),
        generator=Player(generator, torch.optim.SGD(generator.parameters(), 1.0)),
        discriminator=Player(discriminator, optimizer(discriminator.parameters())),
    )


def unrolled_gradient(game: Game, depth: int) -> float:
    rule = Unrolled(depth=depth)
    game.accumulate("generator", [{}], Moment(), lambda batch, moment: rule._outcome(game, batch, moment))
    gradient = game.generator.network.value.grad
    assert isinstance(gradient, Tensor)
    return gradient.item()


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_the_exact_unrolled_gradient(depth: int) -> None:
    # D minimises -theta w with step eta: w_k = w0 + k eta theta; G minimises theta w_k, whose gradient through the
    # unroll is w0 + 2 k eta theta (detached: w0 + k eta theta)
    theta, w0, eta = 0.7, 0.3, 0.25
    game = bilinear_game(theta, w0, partial(torch.optim.SGD, lr=eta))
    gradient = unrolled_gradient(game, depth)
    # the critic outputs -w x; with Wasserstein, D minimises fake - real = -w theta and G minimises w theta
    assert gradient == pytest.approx(w0 + 2 * depth * eta * theta)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}])
def test_unrolled_updates_equal_those_of_the_optimizer(kind: Any, options: dict[str, float]) -> None:
    extra = {"momentum": 0.8} if kind is torch.optim.SGD else {"betas": (0.5, 0.9)}
    games = [bilinear_game(0.7, 0.3, partial(kind, lr=0.05, **options, **extra)) for _ in range(2)]
    for game in games:  # fills the moments
        game.take_turn("discriminator", [{}], Moment())
    loss_after = []
    theta = 0.7
    for shift in (-1e-4, 1e-4):  # finite differences through three real steps
        game = copy.deepcopy(games[0])
        with torch.no_grad():
            game.generator.network.value.fill_(theta + shift)  # type: ignore[union-attr,operator]
        for _ in range(3):
            game.take_turn("discriminator", [{}], Moment())
        loss_after.append(game.generator_outcome({}, Moment()).terms["f"].item())
    assert unrolled_gradient(games[1], 3) == pytest.approx((loss_after[1] - loss_after[0]) / 2e-4, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_unrolled_is_finite_where_a_gradient_is_far_below_adams_eps(scale: float) -> None:
    game = small_game(loss=RelativisticPairing(), penalties=[R1(weight=1), R2(weight=1)])
    network = game.discriminator.network
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(scale)
    game.discriminator = Player(network, torch.optim.Adam(network.parameters(), 1e-2, betas=(0.0, 0.99)))
    rule = Unrolled(depth=5)
    turn = game.accumulate(
        "generator", [batch_of()], Moment(), lambda batch, moment: rule._outcome(game, batch, moment)
    )
    assert 0 < turn.gradient_norm < 1e6


def test_unrolled_leaves_the_discriminator_unchanged() -> None:
    game = small_game("convolutional", penalties=[R2()])
    before = state_of(game.discriminator.network)
    rule = Unrolled(depth=2)
    game.take_turn("generator", [batch_of()], Moment(), lambda batch, moment: rule._outcome(game, batch, moment))
    assert same(before, state_of(game.discriminator.network))


def test_unrolled_rejects_an_optimizer_it_cannot_differentiate() -> None:
    game = bilinear_game(0.7, 0.3, partial(torch.optim.RMSprop, lr=0.1))
    with pytest.raises(UserError, match=r"RMSprop.*SGD, Adam"):
        unrolled_gradient(game, 1)


@pytest.mark.parametrize("options", [{"constraints": [WeightClip()]}, {"clip_gradients": 1.0}])
def test_unrolled_rejects_clipping(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="neither WeightClip nor clip_gradients"):
        Unrolled()(small_game(**options), lambda: [batch_of()], Moment())


class Mean(nn.Module):
    """A critic that outputs the brightness of a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.weight * samples.flatten(1).mean(1)


@dataclass(frozen=True)
class TwoCritics(Generate):
    """Two equal critics; the second adds 100 and repeats each logit."""

    def matches(self, network: nn.Module, batch: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Match]:
        def shifted(samples: Tensor, condition: Tensor | None) -> Tensor:
            return network(samples)[:, None].expand(-1, 2) + 100

        return {name: Match(c, batch["real"], made["fake"]) for name, c in (("first", network), ("second", shifted))}


def game_of_two(**options: Any) -> Game:
    network = Mean()
    player = Player(network, torch.optim.SGD(network.parameters(), 0.0))
    return small_game(task=TwoCritics(), discriminator=player, loss=RelativisticPairing(), **options)


def test_the_accuracy_of_several_critics_is_their_mean() -> None:
    game, batch = game_of_two(), batch_of()
    batch["real"] = torch.ones_like(batch["real"])
    turn = game.take_turn("discriminator", [batch], Moment())
    assert turn_metrics(game, {"discriminator": turn})["accuracy"] == 1


def test_lecam_has_averages_for_each_critic() -> None:
    game = game_of_two(penalties=[LeCam()])
    game.take_turn("discriminator", [batch_of(seed=1)], Moment())
    terms = game.take_turn("discriminator", [batch_of(seed=2)], Moment(1)).terms
    torch.testing.assert_close(terms["second/LeCam"], terms["first/LeCam"], rtol=1e-2, atol=1e-6)  # despite the offset


def test_two_penalties_of_a_kind_add_up() -> None:
    once, twice = small_game(penalties=[R1(weight=5)]), small_game(penalties=[R1(weight=2), R1(weight=3)])
    terms = [game.discriminator_outcome(batch_of(), Moment()).terms["adversarial/R1"] for game in (once, twice)]
    torch.testing.assert_close(terms[0], terms[1])


def test_weight_clip_applies_to_the_discriminator_only() -> None:
    game = small_game(constraints=[WeightClip(limit=0.01)])
    Alternating()(game, lambda: [batch_of()], Moment())
    assert max(p.abs().max() for p in game.discriminator.network.parameters()) <= 0.01
    assert max(p.abs().max() for p in game.generator.network.parameters()) > 0.01


def test_clipping_limits_the_gradient_and_reports_the_norm_before() -> None:
    free, clipped = small_game(), small_game(clip_gradients=1e-3)
    norms = [game.accumulate("discriminator", [batch_of()], Moment()).gradient_norm for game in (free, clipped)]
    gradients = [p.grad for p in clipped.discriminator.network.parameters() if p.grad is not None]
    assert norms[0] == norms[1]
    assert total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-3)


def test_the_learning_rate_follows_its_schedule() -> None:
    game = small_game(learning_rate=Linear(1, 0))
    game.take_turn("generator", [batch_of()], Moment(step=3, progress=0.25))
    assert game.generator.optimizer.param_groups[0]["lr"] == pytest.approx(0.075)


corruptions = pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        (
            lambda game, batch: batch["real"].fill_(float("nan")),
            ["discriminator", "adversarial", "'real' of the batch"],
        ),
        (
            lambda game, batch: game.generator.network.layers[0].weight.data.fill_(float("inf")),
            ["discriminator", "generator's parameter 'layers.0.weight'"],
        ),
        (
            lambda game, batch: game.discriminator.network.layers[1].bias.data[0].fill_(float("nan")),
            ["discriminator", "discriminator's parameter 'layers.1.bias'"],
        ),
    ],
)


@corruptions
def test_nan_raises_at_once_and_names_the_tensor(corrupt: Any, words: Sequence[str]) -> None:
    game, batch = small_game(), batch_of()
    corrupt(game, batch)
    before = state_of(game.discriminator.network)
    with pytest.raises(NotFiniteError) as caught:
        Alternating()(game, lambda: [batch], Moment(step=7))
    assert all(word in str(caught.value) for word in ["step 7", *words])
    assert torch.equal(before["logit.weight"], game.discriminator.network.state_dict()["logit.weight"])


@corruptions
def test_a_deferred_check_keeps_the_first_failure(corrupt: Any, words: Sequence[str]) -> None:
    game, batch = small_game(checks=FiniteChecks(deferred=True), penalties=[R1()]), batch_of()
    for step in range(8):
        if step == 2:
            game.checks.read()  # earlier checks, which passed, do not shift the names of later ones
        if step == 5:
            corrupt(game, batch)
        Alternating()(game, lambda: [batch], Moment(step))
    assert not all(p.isfinite().all() for p in game.generator.network.parameters()), "later steps fail, too"
    with pytest.raises(NotFiniteError) as caught:
        game.checks.read()
    assert all(word in str(caught.value) for word in ["step 5", *words])


def test_deferred_checks_are_read_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.game.finite.MOST_PENDING", 10)  # four checks for each step
    game, batch = small_game(checks=FiniteChecks(deferred=True)), batch_of()
    batch["real"].fill_(float("nan"))
    rule = Alternating()
    rule(game, lambda: [batch], Moment(0))
    rule(game, lambda: [batch], Moment(1))
    with pytest.raises(NotFiniteError, match="step 0: .*'real' of the batch"):
        rule(game, lambda: [batch], Moment(2))


class InfiniteSlope(nn.Module):
    """A finite output with an infinite gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(64))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return (samples.flatten(1) * self.weight).square().sum(1).sqrt()


def test_the_error_names_a_gradient_that_is_not_finite() -> None:
    network = InfiniteSlope()
    game = small_game(discriminator=Player(network, torch.optim.SGD(network.parameters(), 0.1)))
    with pytest.raises(NotFiniteError, match="discriminator's gradient of 'weight'"):
        game.take_turn("discriminator", [batch_of()], Moment())
    assert network.weight.isfinite().all()
    game.checks = FiniteChecks(deferred=True)
    for step in range(3, 6):
        game.take_turn("discriminator", [batch_of()], Moment(step))
    with pytest.raises(NotFiniteError, match="step 3: the discriminator's gradient of 'weight'"):
        game.checks.read()


@pytest.mark.parametrize("deferred", [False, True])
def test_a_gradient_whose_squares_overflow_is_reported(deferred: bool) -> None:
    checks, gradients = FiniteChecks(deferred), {"a": torch.ones(3), "b": torch.full((2,), 1e30)}

    def check() -> None:
        checks.check_gradient("generator", gradients, total_norm(gradients.values()), Moment(4))
        checks.read()

    with pytest.raises(NotFiniteError, match="step 4: the generator's gradient of 'sum of squares' is not finite"):
        check()


@pytest.mark.parametrize("penalty", [R1(), R2(), GradientPenalty()], ids=repr)
def test_gradient_penalties_are_computed_in_fp32(penalty: Any) -> None:
    game = small_game(penalties=[penalty], autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    exact = small_game(penalties=[penalty])
    torch.manual_seed(0)
    terms = game.discriminator_outcome(batch_of(), Moment()).terms
    torch.manual_seed(0)
    assert terms == exact.discriminator_outcome(batch_of(), Moment()).terms


def test_autocast_applies_without_gradient_penalties() -> None:
    game, exact = small_game(autocast=lambda: torch.autocast("cpu", torch.bfloat16)), small_game()
    ours, theirs = (g.discriminator_outcome(batch_of(), Moment()).terms["adversarial"] for g in (game, exact))
    assert ours.dtype == torch.float32
    assert ours != theirs
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=0)


def test_a_loss_without_a_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_loss.py").write_text(
        "class Half:\n    relative = False\n    def discriminator(self, real, fake): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="has no undecided and no generator; a loss needs relative"), trusted(True):
        build_loss(Recipe(loss="half_loss.Half()"))
