"""Probes of a training: metrics of the same samples and latents throughout the run.

A probe has no side effects on the training. Probes take at most a fixed share of the training's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sparring.base.seeds import derive_seed
from sparring.data.samples import Data
from sparring.doctor.diagnosis.rules import SURE
from sparring.doctor.probing import leaks, statistics
from sparring.doctor.probing.probing import COUNT, FEWEST, KNOWN, ProbeSchedule, measured, without_side_effects
from sparring.doctor.probing.reference import Metrics, RealReference
from sparring.game.condition import FAKE, Condition
from sparring.game.game import Game
from sparring.game.losses import Loss
from sparring.game.match import Batch, Images, Match, Moment
from sparring.game.penalties.base import by_sample
from sparring.game.schedules import at
from sparring.metrics.ranking import ranking
from sparring.run.log import Row
from sparring.tasks.base import Direction, Translating, task_of

IMAGES = 64  # samples in a probe of a task that translates images, whose networks are slow


@dataclass
class View:
    """One of the task's directions, and what its samples are compared with.

    Attributes:
        direction: The direction.
        reference: Real samples of the kind that it generates.
        repairs: Functions that repair dataset artifacts in generated samples, by name: see `leaks`.
    """

    direction: Direction
    reference: RealReference
    repairs: Mapping[str, leaks.Repair]

    def match(self, matches: Mapping[str, Match]) -> Match:
        """The direction's match; the first of several, such as those of several scales."""
        return next(match for name, match in matches.items() if name.startswith(self.direction.match))

    def named(self, found: Metrics) -> Metrics:
        """Its metrics as in the log: with the direction's name as a prefix, where it has one."""
        if not self.direction.name:
            return found
        own = {name: value for name, value in found.items() if not name.startswith("weights/")}
        return {f"{self.direction.name}/{name}": value for name, value in own.items()}


@dataclass(frozen=True)
class Players:
    """A generator and a discriminator as a probe uses them, whoever trains them.

    Attributes:
        networks: The modules of the generator and the discriminator.
        generate: Returns the generated images of a batch.
        matches: Returns the matches of a batch and its generated images.
        autocast: The precision in which they compute.
    """

    networks: tuple[nn.Module, nn.Module]
    generate: Callable[[Batch], Images]
    matches: Callable[[Batch, Images], Mapping[str, Match]]
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class ProbeSet:
    """The samples and latents that all probes of a run share. All batches are on the CPU and equally long.

    Attributes:
        views: The task's directions, at least one.
        inputs: Inputs of the generator, such as latents and labels.
        train: Training samples.
        held_out: Real samples that the training does not see, or None.
        pieces: The parts of the batches that the networks see at once.
        classes: The number of classes, where inputs hold labels.
    """

    views: Sequence[View]
    inputs: Batch
    train: Batch
    held_out: Batch | None
    pieces: Sequence[slice]
    classes: int

    def probe(self, players: Players, loss: Loss | None) -> Metrics:
        """Measure the networks now. Returns metrics by name: see `measured`; `loss` is the current one."""
        found: Metrics = {}
        for view, tensors in zip(self.views, self._gathered(players, self._part)):
            own = measured(view.reference, loss, tensors, *players.networks)
            if not own["finite"]:
                return own
            found |= view.named(own | self._leaks(players, view, tensors))
        return found

    def _gathered(
        self, players: Players, compute: Callable[[Players, Batch, Batch, Batch], list[dict[str, Tensor]]]
    ) -> list[dict[str, Tensor]]:
        """Results for all pieces of the inputs, training and held-out samples, concatenated on the CPU."""
        device = next(players.networks[0].parameters(), torch.empty(0)).device
        parts = []
        with without_side_effects(*players.networks):
            for piece in self.pieces:
                kinds = (self.inputs, self.train, self.held_out or {})
                cut = [{name: tensor[piece].to(device) for name, tensor in batch.items()} for batch in kinds]
                with players.autocast():
                    found = compute(players, *cut)
                parts.append([{name: tensor.float().cpu() for name, tensor in each.items()} for each in found])
        return [
            {name: torch.cat([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(len(parts[0]))
        ]

    def _part(self, players: Players, inputs: Batch, reals: Batch, held_out: Batch) -> list[dict[str, Tensor]]:
        """Logits and flat samples in each direction."""
        batch = {**reals, **inputs}
        made = players.generate(batch)
        matches = players.matches(batch, made)
        found = [_samples_and_logits(view.direction, view.match(matches), batch, made) for view in self.views]
        if held_out:
            unseen = {**held_out, **inputs}
            unseen_matches = players.matches(unseen, made if inputs else players.generate(unseen))  # other sources, too
            for view, tensors in zip(self.views, found):
                tensors["held_out"] = view.match(unseen_matches).real_logits
        condition = Condition.from_batch(inputs, FAKE)
        if condition.parts:
            found[0] |= self._changed_condition(players, inputs, condition, self.views[0].match(matches))
        return found

    def _changed_condition(
        self, players: Players, inputs: Batch, condition: Condition, match: Match
    ) -> dict[str, Tensor]:
        """Samples with another class or another latent, and logits with a wrong class."""
        others = {**inputs, **condition.another(self.classes).to_batch(FAKE)}
        turned = {name: tensor.roll(1, 0) for name, tensor in inputs.items()} | condition.to_batch(FAKE)
        return {
            "other class": statistics.flat_features(players.generate(others)["fake"]),
            "other latent": statistics.flat_features(players.generate(turned)["fake"]),
            "wrong": match.judge(match.real, match.real_condition.another(self.classes)).logits,
        }

    def _leaks(self, players: Players, view: View, tensors: Mapping[str, Tensor]) -> Metrics:
        """The AUC of D after each dataset artifact is repaired in the fakes; nothing where its AUC is low anyway."""
        real = by_sample(tensors.get("held_out", tensors["real"]))
        if not view.repairs or ranking(real, by_sample(tensors["fake"])) <= SURE:
            return {}

        def repaired(players: Players, inputs: Batch, reals: Batch, held_out: Batch) -> list[dict[str, Tensor]]:
            batch = {**reals, **inputs}
            made = players.generate(batch)
            fakes = {
                n: {**made, view.direction.made: repair(made[view.direction.made])}
                for n, repair in view.repairs.items()
            }
            return [{n: view.match(players.matches(batch, each)).fake_logits for n, each in fakes.items()}]

        (repaired_logits,) = self._gathered(players, repaired)
        return {f"leak/{name}": ranking(real, by_sample(logits)) for name, logits in repaired_logits.items()}


def _samples_and_logits(direction: Direction, match: Match, batch: Batch, made: Images) -> dict[str, Tensor]:
    found = {
        "made": statistics.flat_features(made[direction.made]),
        "real": match.real_logits,
        "fake": match.fake_logits,
    }
    if direction.paired:
        found["truth"] = statistics.flat_features(batch[direction.real])
    elif direction.source:
        found["source"] = statistics.flat_features(batch[direction.source])
    return found


class Prober:
    """Probes one run.

    Args:
        game: The game that the run trains.
        data: Training samples; their `variety` is at least 2 * FEWEST.
        held_out: Samples that the run does not train on, or None; ignored where they do not fit `data`.
        seed: The seed of the choice of samples and latents.
        part: The number of samples that the networks see at once, as in training.
    """

    def __init__(self, game: Game, data: Data, held_out: Data | None, seed: int, part: int) -> None:
        self.game, self.schedule = game, ProbeSchedule()
        held_out = None if held_out is None or not fits(held_out, data) else held_out
        most = IMAGES if isinstance(game.task, Translating) else COUNT
        count = min(most, variety(data) // 2, COUNT if held_out is None else variety(held_out))
        order = _order(data, max(KNOWN, 2 * count), derive_seed(seed, "look"))
        rng = torch.Generator().manual_seed(derive_seed(seed, "look inputs"))
        train = game.task.prepare(_batch(data, order[:count], seed), rng)
        unseen = None if held_out is None else game.task.prepare(_chosen(held_out, data, count, seed), rng)
        other = _batch(data, order[count : 2 * count], seed) if unseen is None else unseen
        directions = task_of(game).directions
        known: dict[str, list[Tensor]] = {direction.real: [] for direction in directions}
        for chosen in order[: max(KNOWN, 2 * count)].split(64):
            batch = _batch(data, chosen, seed)
            for name, parts in known.items():
                parts.append(statistics.flat_features(batch[name]))
        views = []
        for direction in directions:
            real, map_of_classes = train[direction.real], data.form.map and direction.real == "real"
            compared = statistics.flat_features(other[direction.real])
            reference = RealReference(
                statistics.flat_features(real), torch.cat(known[direction.real]), compared, unseen is not None
            )
            views.append(View(direction, reference, {} if map_of_classes else leaks.repairs(real)))  # see `leaks`
        inputs = game.task.draw(count, torch.Generator().manual_seed(derive_seed(seed, "look latents")))
        pieces = [slice(start, start + part) for start in range(0, len(train["real"]), part)]
        self.probe_set = ProbeSet(views, inputs, train, unseen, pieces, len(task_of(game).class_names))

    @property
    def previous(self) -> Tensor | None:
        """The flat samples of the last probe, of all directions side by side [n, d]; None before the first."""
        samples = [view.reference.previous for view in self.probe_set.views]
        known = [each for each in samples if each is not None]
        return torch.cat(known, 1) if len(known) == len(samples) else None

    @previous.setter
    def previous(self, samples: Tensor | None) -> None:
        widths = [view.reference.train.shape[1] for view in self.probe_set.views]
        fits = samples is not None and samples.shape[1] == sum(widths)  # older runs kept the first direction alone
        parts = samples.split(widths, 1) if samples is not None and fits else [None] * len(widths)
        for view, part in zip(self.probe_set.views, parts):
            view.reference.previous = part

    def begin(self, history: Sequence[Row]) -> None:
        """Count the probes that a run's log holds."""
        self.schedule.resume(history, lambda row: float(row["progress"]))

    def due(self, seconds: float, progress: float) -> bool:
        """A probe is due. The end of a run always has one."""
        return progress >= 1 or self.schedule.due(seconds, progress)

    def probe(self, moment: Moment) -> Metrics:
        """Probe the run now: the metrics of `ProbeSet.probe`, and `cost` in seconds."""
        start = time.perf_counter()
        game, network = self.game, self.game.generator.network
        players = Players(
            (network, game.discriminator.network),
            lambda batch: game.task.generate(network, batch),
            lambda batch, made: game.matches(batch, made, moment),
            game.autocast,
        )
        found = self.probe_set.probe(players, at(game.loss, moment.progress))
        took = time.perf_counter() - start
        self.schedule.took(took, moment.progress)
        return {**found, "cost": round(took, 4)}


def variety(data: Data) -> int:
    """The number of different samples that a dataset offers to a probe; patches offer any number."""
    if data.whole is not None:
        return 2 * COUNT
    return len(data) if data.source is None else min(len(data), len(data.source))


def fits(held_out: Data, data: Data) -> bool:
    """There are enough held-out samples, of the training samples' shape, and with labels where these have some."""
    alike = held_out.form.shape == data.form.shape and (held_out.labels is None) == (data.labels is None)
    return alike and variety(held_out) >= FEWEST


def _chosen(held_out: Data, data: Data, count: int, seed: int) -> Batch:
    """Held-out samples in the form of the training samples."""
    order = _order(held_out, count, 0)[:count]
    return _batch(replace(held_out, form=data.form), order, seed)


def _order(data: Data, count: int, seed: int) -> Tensor:
    """All indices in random order; repeated for patches, which are cut from other places each time."""
    rng = torch.Generator().manual_seed(seed)
    times = 1 if data.whole is None else -(-count // len(data))
    return torch.cat([torch.randperm(len(data), generator=rng) for _ in range(times)])


def _batch(data: Data, indices: Tensor, seed: int) -> Batch:
    """The samples at `indices`; patches are cut from random places that the seed decides."""
    if data.whole is None:
        return data.batch(indices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, f"look patches {indices.tolist()}"))
        return data.varied(indices, mirror=False)
