"""Looks at a training: numbers that tell what is wrong, taken of the same samples and latents through the run.

A look changes nothing of the training. What looks cost is bounded to a share of the training's time.
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
from sparring.doctor.probing.reference import Numbers, RealReference
from sparring.game.condition import FAKE, Condition
from sparring.game.game import Game
from sparring.game.losses import Loss
from sparring.game.match import Batch, Images, Match, Moment
from sparring.game.penalties.base import by_sample
from sparring.game.schedules import at
from sparring.metrics.ranking import ranking
from sparring.run.log import Row
from sparring.tasks.base import Direction, Translating, task_of

IMAGES = 64  # in a look at a task that turns images into others, whose networks are slow


@dataclass
class View:
    """One of the task's ways, and what it is compared with.

    Attributes:
        way: which.
        yardstick: real samples of the kind that it makes.
        repairs: of silly differences between these and what is made.
    """

    direction: Direction
    reference: RealReference
    repairs: Mapping[str, leaks.Repair]

    def match(self, matches: Mapping[str, Match]) -> Match:
        """The match that it looks at: of several, such as those of several scales, the first."""
        return next(match for name, match in matches.items() if name.startswith(self.direction.match))

    def named(self, found: Numbers) -> Numbers:
        """Its numbers as they stand in the log: those of a way with a name begin with that."""
        if not self.direction.name:
            return found
        own = {name: value for name, value in found.items() if not name.startswith("weights/")}
        return {f"{self.direction.name}/{name}": value for name, value in own.items()}


@dataclass(frozen=True)
class Players:
    """Two players as a look sees them, whoever trains them.

    Attributes:
        networks: the generator's module and the discriminator's.
        generate: what the generator makes of a batch.
        matches: what the discriminator judges, of a batch and of what was made.
        autocast: the precision that they compute in.
    """

    networks: tuple[nn.Module, nn.Module]
    generate: Callable[[Batch], Images]
    matches: Callable[[Batch, Images], Mapping[str, Match]]
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class ProbeSet:
    """What is the same in all looks at a training, and how a look is taken."""

    views: Sequence[View]  # one at least
    inputs: Batch  # of the generator beside the samples, on the CPU, as the next two
    train: Batch  # training samples, as many
    held_out: Batch | None  # as many that no training saw
    pieces: Sequence[slice]  # parts of these that the networks see at once
    classes: int  # how many there are, where inputs hold labels

    def probe(self, players: Players, loss: Loss | None) -> Numbers:
        """The numbers of now, by name; what cannot be shown is left out. `loss` is as it stands now.

        `finite` is 1, or 0 where samples or logits hold NaN or infinity: then there are no other numbers.
        """
        found: Numbers = {}
        for view, tensors in zip(self.views, self._gathered(players, self._part)):
            own = measured(view.reference, loss, tensors, *players.networks)
            if not own["finite"]:
                return own
            found |= view.named(own | self._leaks(players, view, tensors))
        return found

    def _gathered(
        self, players: Players, ask: Callable[[Players, Batch, Batch, Batch], list[dict[str, Tensor]]]
    ) -> list[dict[str, Tensor]]:
        """What is answered of all pieces of the inputs, training and held-out samples, on the CPU."""
        device = next(players.networks[0].parameters(), torch.empty(0)).device
        parts = []
        with without_side_effects(*players.networks):
            for piece in self.pieces:
                kinds = (self.inputs, self.train, self.held_out or {})
                cut = [{name: tensor[piece].to(device) for name, tensor in batch.items()} for batch in kinds]
                with players.autocast():
                    found = ask(players, *cut)
                parts.append([{name: tensor.float().cpu() for name, tensor in each.items()} for each in found])
        return [
            {name: torch.cat([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(len(parts[0]))
        ]

    def _part(self, players: Players, inputs: Batch, reals: Batch, held_out: Batch) -> list[dict[str, Tensor]]:
        """What the players make and say, for each way: logits and seen samples."""
        batch = {**reals, **inputs}
        made = players.generate(batch)
        matches = players.matches(batch, made)
        found = [_seen(view.direction, view.match(matches), batch, made) for view in self.views]
        if held_out:
            unseen = {**held_out, **inputs}
            judged = players.matches(unseen, made if inputs else players.generate(unseen))  # sources are others, too
            for view, tensors in zip(self.views, found):
                tensors["held_out"] = view.match(judged).real_logits
        condition = Condition.from_batch(inputs, FAKE)
        if condition.parts:
            found[0] |= self._of_others(players, inputs, condition, self.views[0].match(matches))
        return found

    def _of_others(self, players: Players, inputs: Batch, condition: Condition, match: Match) -> dict[str, Tensor]:
        """The same of another condition, and of another latent."""
        others = {**inputs, **condition.another(self.classes).to_batch(FAKE)}
        turned = {name: tensor.roll(1, 0) for name, tensor in inputs.items()} | condition.to_batch(FAKE)
        return {
            "other class": statistics.seen(players.generate(others)["fake"]),
            "other latent": statistics.seen(players.generate(turned)["fake"]),
            "wrong": match.judge(match.real, match.real_condition.another(self.classes)).logits,
        }

    def _leaks(self, players: Players, view: View, tensors: Mapping[str, Tensor]) -> Numbers:
        """Where D is rather sure, how well it does once a silly difference is repaired in the fakes; else nothing."""
        real = by_sample(tensors.get("held_out", tensors["real"]))
        if not view.repairs or ranking(real, by_sample(tensors["fake"])) <= SURE:
            return {}

        def repaired(players: Players, inputs: Batch, reals: Batch, held_out: Batch) -> list[dict[str, Tensor]]:
            batch = {**reals, **inputs}
            made = players.generate(batch)
            mended = {
                n: {**made, view.direction.made: repair(made[view.direction.made])}
                for n, repair in view.repairs.items()
            }
            return [{n: view.match(players.matches(batch, each)).fake_logits for n, each in mended.items()}]

        (judged,) = self._gathered(players, repaired)
        return {f"leak/{name}": ranking(real, by_sample(logits)) for name, logits in judged.items()}


def _seen(direction: Direction, match: Match, batch: Batch, made: Images) -> dict[str, Tensor]:
    found = {"made": statistics.seen(made[direction.made]), "real": match.real_logits, "fake": match.fake_logits}
    if direction.paired:
        found["truth"] = statistics.seen(batch[direction.real])
    elif direction.source:
        found["source"] = statistics.seen(batch[direction.source])
    return found


class Prober:
    """Looks at one run's players.

    The `variety` of `data` is 2 * FEWEST at least; `part` is how many samples the networks see at once, as in training.
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
                parts.append(statistics.seen(batch[name]))
        views = []
        for direction in directions:
            real, map_of_classes = train[direction.real], data.form.map and direction.real == "real"
            compared = statistics.seen(other[direction.real])
            reference = RealReference(
                statistics.seen(real), torch.cat(known[direction.real]), compared, unseen is not None
            )
            views.append(View(direction, reference, {} if map_of_classes else leaks.repairs(real)))  # why: see `leaks`
        inputs = game.task.draw(count, torch.Generator().manual_seed(derive_seed(seed, "look latents")))
        pieces = [slice(start, start + part) for start in range(0, len(train["real"]), part)]
        self.probe_set = ProbeSet(views, inputs, train, unseen, pieces, len(task_of(game).class_names))

    @property
    def before(self) -> Tensor | None:
        """What the last look saw, of all ways side by side [n, d]; None before the first."""
        seen = [view.reference.before for view in self.probe_set.views]
        return torch.cat([each for each in seen if each is not None], 1) if None not in seen else None

    @before.setter
    def before(self, seen: Tensor | None) -> None:
        widths = [view.reference.train.shape[1] for view in self.probe_set.views]
        fits = seen is not None and seen.shape[1] == sum(widths)  # an older run kept what it saw of one way alone
        parts = seen.split(widths, 1) if seen is not None and fits else [None] * len(widths)
        for view, part in zip(self.probe_set.views, parts):
            view.reference.before = part

    def begin(self, history: Sequence[Row]) -> None:
        """Go on with the looks that a run's log holds."""
        self.schedule.go_on(history, lambda row: float(row["progress"]))

    def due(self, seconds: float, progress: float) -> bool:
        """Is it time for another look, and is there time? The last moment of a run always has one."""
        return progress >= 1 or self.schedule.due(seconds, progress)

    def probe(self, moment: Moment) -> Numbers:
        """The numbers of now, as `Looker.look` gives them, with their cost in seconds."""
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
    """How many different samples a look can have of a set: of patches any number."""
    if data.whole is not None:
        return 2 * COUNT
    return len(data) if data.source is None else min(len(data), len(data.source))


def fits(held_out: Data, data: Data) -> bool:
    """Are there enough held-out samples, of the training samples' shape, and labelled where these are?"""
    alike = held_out.form.shape == data.form.shape and (held_out.labels is None) == (data.labels is None)
    return alike and variety(held_out) >= FEWEST


def _chosen(held_out: Data, data: Data, count: int, seed: int) -> Batch:
    """Held-out samples as the networks see them: in the form of the training samples."""
    order = _order(held_out, count, 0)[:count]
    return _batch(replace(held_out, form=data.form), order, seed)


def _order(data: Data, count: int, seed: int) -> Tensor:
    """All samples in random order; where they are patches, again and again, for each time they are others."""
    rng = torch.Generator().manual_seed(seed)
    times = 1 if data.whole is None else -(-count // len(data))
    return torch.cat([torch.randperm(len(data), generator=rng) for _ in range(times)])


def _batch(data: Data, indices: Tensor, seed: int) -> Batch:
    """The samples at `indices`; where they are patches, from random places that the seed decides."""
    if data.whole is None:
        return data.batch(indices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, f"look patches {indices.tolist()}"))
        return data.varied(indices, mirror=False)
