"""Metrics of a run's generator and discriminator: duality gap, critic gap and path length."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from sparring.base.errors import NotFiniteError
from sparring.base.seeds import derive_seed
from sparring.data.samples import Data
from sparring.evaluation.measuring import Value
from sparring.evaluation.subject import Subject
from sparring.game.game import Game
from sparring.game.inputs import Uniform
from sparring.game.match import Batch, Moment, Side
from sparring.game.penalties.base import by_sample
from sparring.metrics.distribution import Estimate
from sparring.metrics.ranking import critic_gap
from sparring.metrics.smoothness import path_length, slerp

TEST_SAMPLES, BATCH, PATHS = 2048, 256, 1000

Gap = Mapping[str, float]


def duality_gap(game: Game, next_batch: Callable[[], Batch], test: Sequence[Batch], steps: int = 200) -> Gap:
    """Estimate the duality gap max over D' of V(G, D') - min over G' of V(G', D), with V minus D's adversarial loss.

    A copy of each player trains against the other, which is frozen. The copies use the recipe's optimisers, initial
    learning rate and penalties. V is measured about ten times during these steps, and the best value counts. The gap is
    therefore a lower bound, up to the noise of `test`. The game itself is not changed.
    Source: Grnarova et al. 2019, equation 2 and section 4.

    Args:
        game: generator (raw weights, not their EMA), discriminator and loss.
        next_batch: returns the next batch to train on.
        test: batches that V is measured on.
        steps: training steps of each copy.

    Returns:
        `duality_gap`, at least 0 and 0 at the equilibrium; `game_value`, the current V; `game_value_best_d` and
        `game_value_worst_g`, the best V for either copy, whose difference is the gap.
    """
    values = {side: _best_response(game, side, next_batch, test, steps) for side in ("discriminator", "generator")}
    best, worst, now = max(values["discriminator"]), min(values["generator"]), values["generator"][0]
    return {"duality_gap": best - worst, "game_value": now, "game_value_best_d": best, "game_value_worst_g": worst}


def _best_response(
    game: Game, side: Side, next_batch: Callable[[], Batch], test: Sequence[Batch], steps: int
) -> list[float]:
    """The game's value while a copy of one player trains against the other, which is frozen."""
    trained = dataclasses.replace(copy.deepcopy(game), learning_rate=1.0)
    values, every = [game_value(trained, test)], max(1, steps // 10)
    for step in range(1, steps + 1):
        try:
            trained.take_turn(side, [next_batch()], Moment(step, 1.0))
            if step % every == 0 or step == steps:
                trained.checks.read()
        except NotFiniteError:  # the copy diverged; its earlier values count
            break
        if step % every == 0 or step == steps:
            values.append(game_value(trained, test))
    return values


@torch.no_grad()
def game_value(game: Game, batches: Sequence[Batch]) -> float:
    """Value V of the game: minus the discriminator's adversarial loss, averaged over batches."""
    networks = (game.generator.network, game.discriminator.network)
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    values = []
    for batch in batches:
        generated = game.task.generate(game.generator.network, batch)
        matches = game.task.matches(game.discriminator.network, batch, generated).values()
        losses = [game.loss.discriminator(m.real_logits.float(), m.fake_logits.float()).mean() for m in matches]
        values.append(-torch.stack(losses).mean())
    for network, mode in zip(networks, modes):
        network.train(mode)
    return torch.stack(values).double().mean().item()


def measure_path_length(subject: Subject) -> Mapping[str, Value]:
    """Perceptual path length in the latent space, over 1,000 pairs."""
    generator = subject.generator
    assert generator is not None
    rng = torch.Generator().manual_seed(derive_seed(subject.seed, "paths"))
    starts, ends = (generator.task.draw(PATHS, rng) for _ in range(2))
    places = torch.rand(PATHS, 1, generator=rng)
    device = next(generator.network.parameters()).device

    @torch.no_grad()
    def describe(latents: Tensor) -> Tensor:
        whole = {**starts, "latent": latents}
        features = []
        for start in range(0, PATHS, BATCH):
            batch = {name: tensor[start : start + BATCH].to(device) for name, tensor in whole.items()}
            images = generator.task.generate(generator.network, batch)["fake"].cpu()
            features.append(subject.reference.extractor(generator.form.to_units(images)).features)
        return torch.cat(features)

    between = torch.lerp if isinstance(getattr(generator.task, "latent", None), Uniform) else slerp
    return {"path_length": path_length(describe, starts["latent"], ends["latent"], places, between=between)}


def measure_critic_gap(subject: Subject) -> Mapping[str, Value]:
    """Compare the critic's logits of training samples and of equally many held-out samples, each used once."""
    assert subject.game is not None
    reference = subject.reference
    assert reference.held_out is not None
    game = subject.game()
    game.discriminator.network.eval()
    game.generator.network.eval()
    count = min(TEST_SAMPLES, len(reference.train), len(reference.held_out))
    real: dict[str, list[Tensor]] = {"train": [], "held out": []}
    fake = []
    for name, data in (("train", reference.train), ("held out", reference.held_out)):
        rng = torch.Generator().manual_seed(derive_seed(subject.seed, "critic gap", name))
        for chosen in torch.randperm(len(data), generator=rng)[:count].split(BATCH):
            batch = _batch(subject, data, chosen, rng)
            with torch.no_grad():
                generated = game.task.generate(game.generator.network, batch)
                matches = game.task.matches(game.discriminator.network, batch, generated).values()
                real[name].append(_mean_logits([match.real_logits for match in matches]))
                fake.append(_mean_logits([match.fake_logits for match in matches]))
    found = critic_gap(torch.cat(real["train"]), torch.cat(real["held out"]), torch.cat(fake))
    return {"overfitting": found.overfitting, "train_above_held_out": Estimate(found.ranking, found.error)}


def _mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """Mean logit per sample [n] over several critics."""
    return torch.stack([by_sample(one).float().cpu() for one in logits]).mean(0)


def measure_duality_gap(subject: Subject) -> Mapping[str, Value]:
    """`duality_gap` after 200 steps, measured on held-out samples, or on training samples without any."""
    assert subject.game is not None
    reference = subject.reference
    train = _batches(subject, reference.train, 10**9, "duality gap")
    tested = reference.train if reference.held_out is None else reference.held_out
    test = list(_batches(subject, tested, TEST_SAMPLES // BATCH, "judged"))
    return duality_gap(subject.game(), lambda: next(train), test)


def _batches(subject: Subject, data: Data, count: int, purpose: str) -> Iterator[Batch]:
    """Yield batches of random samples with new latents."""
    rng = torch.Generator().manual_seed(derive_seed(subject.seed, purpose))
    for _ in range(count):
        yield _batch(subject, data, torch.randint(len(data), (BATCH,), generator=rng), rng)


def _batch(subject: Subject, data: Data, chosen: Tensor, rng: torch.Generator) -> Batch:
    """A batch as in training. Scaling uses the run's form, because held-out points have another centre and scale."""
    generator = subject.generator
    assert generator is not None
    device = next(generator.network.parameters()).device
    batch: dict[str, Tensor] = {"real": generator.form.to_input(data.take(chosen))}
    if data.labels is not None:
        batch["label"] = data.labels[chosen]
    batch |= generator.task.draw(len(chosen), rng)
    return {name: tensor.to(device) for name, tensor in batch.items()}
