"""Metrics that need the players themselves, not only their samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from sparring import metrics
from sparring.data import Data
from sparring.evaluation.measuring import Value
from sparring.evaluation.subject import Subject
from sparring.latents import Uniform
from sparring.match import Batch
from sparring.metrics import Estimate
from sparring.penalties.base import by_sample
from sparring.seeds import derive_seed

JUDGED = 2048
BATCH = 256
PATHS = 1000


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

    between = torch.lerp if isinstance(getattr(generator.task, "latent", None), Uniform) else metrics.slerp
    return {"path_length": metrics.path_length(describe, starts["latent"], ends["latent"], places, between=between)}


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
    found = metrics.critic_gap(torch.cat(real["train"]), torch.cat(real["held out"]), torch.cat(fake))
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
    found = metrics.duality_gap(
        subject.game(), lambda: next(train), list(_batches(subject, judged, JUDGED // BATCH, "judged"))
    )
    return {
        "duality_gap": found.gap,
        "game_value": found.now,
        "game_value_best_d": found.best,
        "game_value_worst_g": found.worst,
    }


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
