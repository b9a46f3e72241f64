"""The game between a run's players: its duality gap and its value."""

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

JUDGED, BATCH, PATHS = 2048, 256, 1000

Gap = Mapping[str, float]


def duality_gap(game: Game, next_batch: Callable[[], Batch], judged: Sequence[Batch], steps: int = 200) -> Gap:
    """Estimate the duality gap of a game, which stays as it is: `duality_gap`, at least 0, and 0 at the equilibrium;
    `game_value`, the present value of the game, and its highest and lowest ones, of which the gap is the difference:
    `game_value_best_d` with copies of D trained against G, `game_value_worst_g` with copies of G trained against D.

    max over D' of V(G, D') - min over G' of V(G', D), with V minus D's adversarial loss. Both are looked for from
    copies of the present players, by `steps` turns of the recipe's own optimisers (at the learning rate that they began
    with) against the other player standing still, with the game's penalties. V is measured about ten times on the way
    on `judged`, and the best value counts; so it is a lower bound of the gap, but for the noise of `judged`. The game's
    generator has its raw weights, not their average. Source: Grnarova et al. 2019, equation 2 and section 4.
    """
    values = {side: _best_response(game, side, next_batch, judged, steps) for side in ("discriminator", "generator")}
    best, worst, now = max(values["discriminator"]), min(values["generator"]), values["generator"][0]
    return {"duality_gap": best - worst, "game_value": now, "game_value_best_d": best, "game_value_worst_g": worst}


def _best_response(
    game: Game, side: Side, next_batch: Callable[[], Batch], judged: Sequence[Batch], steps: int
) -> list[float]:
    """The game's value while a copy of one player trains alone."""
    trained = dataclasses.replace(copy.deepcopy(game), learning_rate=1.0)
    values = [game_value(trained, judged)]
    for step in range(1, steps + 1):
        try:
            trained.take_turn(side, [next_batch()], Moment(step, 1.0))
        except NotFiniteError:  # the copy diverged; what it reached before counts
            break
        if step % max(1, steps // 10) == 0 or step == steps:
            values.append(game_value(trained, judged))
    return values


@torch.no_grad()
def game_value(game: Game, batches: Sequence[Batch]) -> float:
    """Minus the discriminator's adversarial loss, its mean over batches."""
    networks = (game.generator.network, game.discriminator.network)
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    values = []
    for batch in batches:
        made = game.task.generate(game.generator.network, batch)
        matches = game.task.matches(game.discriminator.network, batch, made).values()
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
    """The critic's logits of training samples against those of as many held-out samples, each taken once."""
    assert subject.game is not None
    reference = subject.reference
    assert reference.held_out is not None
    game = subject.game()
    game.discriminator.network.eval()
    game.generator.network.eval()
    count = min(JUDGED, len(reference.train), len(reference.held_out))
    real: dict[str, list[Tensor]] = {"train": [], "held out": []}
    fake = []
    for name, data in (("train", reference.train), ("held out", reference.held_out)):
        rng = torch.Generator().manual_seed(derive_seed(subject.seed, "critic gap", name))
        for chosen in torch.randperm(len(data), generator=rng)[:count].split(BATCH):
            batch = _batch(subject, data, chosen, rng)
            with torch.no_grad():
                made = game.task.generate(game.generator.network, batch)
                matches = game.task.matches(game.discriminator.network, batch, made).values()
                real[name].append(_mean_verdict([match.real_logits for match in matches]))
                fake.append(_mean_verdict([match.fake_logits for match in matches]))
    found = critic_gap(torch.cat(real["train"]), torch.cat(real["held out"]), torch.cat(fake))
    return {"overfitting": found.overfitting, "train_above_held_out": Estimate(found.ranking, found.error)}


def _mean_verdict(logits: Sequence[Tensor]) -> Tensor:
    """Logits of the same samples before several critics -> [n]."""
    return torch.stack([by_sample(one).float().cpu() for one in logits]).mean(0)


def measure_duality_gap(subject: Subject) -> Mapping[str, Value]:
    """What a copy of either player gains in 200 turns, on held-out samples where there are some."""
    assert subject.game is not None
    reference = subject.reference
    train = _batches(subject, reference.train, 10**9, "duality gap")
    judged = reference.train if reference.held_out is None else reference.held_out
    judged_on = list(_batches(subject, judged, JUDGED // BATCH, "judged"))
    return duality_gap(subject.game(), lambda: next(train), judged_on)


def _batches(subject: Subject, data: Data, count: int, purpose: str) -> Iterator[Batch]:
    """Batches of random samples with fresh latents."""
    rng = torch.Generator().manual_seed(derive_seed(subject.seed, purpose))
    for _ in range(count):
        yield _batch(subject, data, torch.randint(len(data), (BATCH,), generator=rng), rng)


def _batch(subject: Subject, data: Data, chosen: Tensor, rng: torch.Generator) -> Batch:
    """Samples as the players see them: in the run's form, for held-out points have a centre and scale of their own."""
    generator = subject.generator
    assert generator is not None
    device = next(generator.network.parameters()).device
    batch: dict[str, Tensor] = {"real": generator.form.to_input(data.take(chosen))}
    if data.labels is not None:
        batch["label"] = data.labels[chosen]
    batch |= generator.task.draw(len(chosen), rng)
    return {name: tensor.to(device) for name, tensor in batch.items()}
