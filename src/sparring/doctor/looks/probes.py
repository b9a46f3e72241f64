"""Looks at a training: numbers that tell what is wrong, taken of the same samples and latents through the run.

A look changes nothing of the training. What looks cost is bounded to a share of the training's time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.base.seeds import derive_seed
from sparring.data.samples import Data
from sparring.doctor.diagnosis.rules import SURE
from sparring.doctor.looks import leaks, numbers
from sparring.doctor.looks.looks import COUNT, FEWEST, KNOWN, Pace, measured, untouched
from sparring.doctor.looks.yardstick import Numbers, Yardstick
from sparring.game.game import Game
from sparring.game.match import Batch, Images, Match, Moment
from sparring.game.penalties.base import by_sample
from sparring.game.schedules import at
from sparring.metrics.ranking import ranking
from sparring.run.log import Row
from sparring.tasks.base import Translating, Way, task_of

IMAGES = 64  # in a look at a task that turns images into others, whose networks are slow


@dataclass
class View:
    """One of the task's ways, and what it is compared with.

    Attributes:
        way: which.
        yardstick: real samples of the kind that it makes.
        repairs: of silly differences between these and what is made.
    """

    way: Way
    yardstick: Yardstick
    repairs: Mapping[str, leaks.Repair]

    def match(self, matches: Mapping[str, Match]) -> Match:
        """The match that it looks at: of several, such as those of several scales, the first."""
        return next(match for name, match in matches.items() if name.startswith(self.way.match))

    def named(self, found: Numbers) -> Numbers:
        """Its numbers as they stand in the log: those of a way with a name begin with that."""
        if not self.way.name:
            return found
        own = {name: value for name, value in found.items() if not name.startswith("weights/")}
        return {f"{self.way.name}/{name}": value for name, value in own.items()}


class Prober:
    """Looks at one run's players.

    Args:
        game: what is trained.
        data: what it trains on; `variety` of it is 2 * FEWEST at least.
        held_out: samples of the same distribution that it does not train on, or None.
        seed: the run's.
        part: how many samples the networks see at once, as in training.
    """

    def __init__(self, game: Game, data: Data, held_out: Data | None, seed: int, part: int) -> None:
        self.game, self.part, self.classes = game, part, max(2, len(data.form.classes))
        self.device = next(game.generator.network.parameters()).device
        held_out = None if held_out is None or not fits(held_out, data) else held_out
        most = IMAGES if isinstance(game.task, Translating) else COUNT
        count = min(most, variety(data) // 2, COUNT if held_out is None else variety(held_out))
        order = _order(data, max(KNOWN, 2 * count), derive_seed(seed, "look"))
        rng = torch.Generator().manual_seed(derive_seed(seed, "look inputs"))
        self.train = game.task.prepare(_batch(data, order[:count], seed), rng)
        self.held_out = None if held_out is None else game.task.prepare(_chosen(held_out, data, count, seed), rng)
        other = _batch(data, order[count : 2 * count], seed) if self.held_out is None else self.held_out
        ways = task_of(game).ways
        known: dict[str, list[Tensor]] = {way.real: [] for way in ways}
        for chosen in order[: max(KNOWN, 2 * count)].split(64):
            batch = _batch(data, chosen, seed)
            for name, parts in known.items():
                parts.append(numbers.seen(batch[name]))
        self.views = [self._view(way, other[way.real], torch.cat(known[way.real]), data) for way in ways]
        self.inputs = game.task.draw(count, torch.Generator().manual_seed(derive_seed(seed, "look latents")))
        self.pace = Pace()

    def _view(self, way: Way, other: Tensor, known: Tensor, data: Data) -> View:
        real, map_of_classes = self.train[way.real], data.form.map and way.real == "real"
        yardstick = Yardstick(numbers.seen(real), known, numbers.seen(other), unseen=self.held_out is not None)
        return View(way, yardstick, {} if map_of_classes else leaks.repairs(real))  # why: see `leaks`

    @property
    def before(self) -> Tensor | None:
        """What the last look saw, of all ways side by side [n, d]; None before the first."""
        seen = [view.yardstick.before for view in self.views]
        return torch.cat([each for each in seen if each is not None], 1) if None not in seen else None

    @before.setter
    def before(self, seen: Tensor | None) -> None:
        widths = [view.yardstick.train.shape[1] for view in self.views]
        fits = seen is not None and seen.shape[1] == sum(widths)  # an older run kept what it saw of one way alone
        parts = seen.split(widths, 1) if seen is not None and fits else [None] * len(widths)
        for view, part in zip(self.views, parts):
            view.yardstick.before = part

    def begin(self, history: Sequence[Row]) -> None:
        """Go on with the looks that a run's log holds."""
        looks = [row for row in history if row.get("event") == "look"]
        self.pace.spent = sum(row["cost"] for row in looks)
        self.pace.looked_at = looks[-1]["progress"] if looks else -1.0

    def due(self, seconds: float, progress: float) -> bool:
        """Is it time for another look, and is there time? The last moment of a run always has one."""
        return progress >= 1 or self.pace.due(seconds, progress)

    def look(self, moment: Moment) -> Numbers:
        """The numbers of now, by name, with their cost in seconds; what this run cannot show is left out.

        `finite` is 1, or 0 where samples or logits hold NaN or infinity: then there are no other numbers.
        """
        start = time.perf_counter()
        generator, discriminator = self.game.generator.network, self.game.discriminator.network
        with untouched(generator, discriminator):
            parts = [self._part(i, moment) for i in range(0, len(self.train["real"]), self.part)]
        loss, found = at(self.game.loss, moment.progress), dict[str, float]()
        for index, view in enumerate(self.views):
            tensors = {name: torch.cat([part[index][name] for part in parts]) for name in parts[0][index]}
            own = measured(view.yardstick, loss, tensors, generator, discriminator)
            if not own["finite"]:
                found = own
                break
            found |= view.named(own | self._leaks(view, tensors, moment))
        took = time.perf_counter() - start
        self.pace.took(took, moment.progress)
        return {**found, "cost": round(took, 4)}

    def _part(self, start: int, moment: Moment) -> list[dict[str, Tensor]]:
        """What the players make and say of a part of the samples, for each way, on the CPU: logits and seen samples."""
        task, generator = self.game.task, self.game.generator.network
        inputs, reals = self._cut(self.inputs, start), self._cut(self.train, start)
        with self.game.autocast():
            batch = {**reals, **inputs}
            made = task.generate(generator, batch)
            matches = self.game.matches(batch, made, moment)
            found = [self._seen(view.way, view.match(matches), batch, made) for view in self.views]
            if self.held_out is not None:
                unseen = {**self._cut(self.held_out, start), **inputs}
                others = made if inputs else task.generate(generator, unseen)  # the sources are others, too
                judged = self.game.matches(unseen, others, moment)
                for view, tensors in zip(self.views, found):
                    tensors["held_out"] = view.match(judged).real_logits
            if "fake_label" in inputs:
                found[0] |= self._of_classes(reals, inputs, self.views[0].match(matches))
        return [{name: tensor.float().cpu() for name, tensor in tensors.items()} for tensors in found]

    def _seen(self, way: Way, match: Match, batch: Batch, made: Images) -> dict[str, Tensor]:
        found = {"made": numbers.seen(made[way.made]), "real": match.real_logits, "fake": match.fake_logits}
        if way.paired:
            found["truth"] = numbers.seen(batch[way.real])
        elif way.source:
            found["source"] = numbers.seen(batch[way.source])
        return found

    def _of_classes(self, reals: Batch, inputs: Batch, match: Match) -> dict[str, Tensor]:
        """The same of another class, and of another latent."""
        task, generator, label = self.game.task, self.game.generator.network, inputs["fake_label"]
        others = {**inputs, "fake_label": (label + 1) % self.classes}
        turned = {name: tensor.roll(1, 0) for name, tensor in inputs.items()} | {"fake_label": label}
        return {
            "other class": numbers.seen(task.generate(generator, others)["fake"]),
            "other latent": numbers.seen(task.generate(generator, turned)["fake"]),
            "wrong": match.judge(match.real, (reals["label"] + 1) % self.classes).logits,
        }

    def _leaks(self, view: View, tensors: Mapping[str, Tensor], moment: Moment) -> Numbers:
        """Where D is rather sure, how well it does once a silly difference is repaired in the fakes; else nothing."""
        real = by_sample(tensors.get("held_out", tensors["real"]))
        if not view.repairs or ranking(real, by_sample(tensors["fake"])) <= SURE:
            return {}
        with untouched(self.game.generator.network, self.game.discriminator.network):
            parts = [self._repaired(view, i, moment) for i in range(0, len(self.train["real"]), self.part)]
        repaired = {name: by_sample(torch.cat([part[name] for part in parts])) for name in view.repairs}
        return {f"leak/{name}": ranking(real, logits) for name, logits in repaired.items()}

    def _repaired(self, view: View, start: int, moment: Moment) -> dict[str, Tensor]:
        """D's logits of a part of the fakes after each repair."""
        batch = {**self._cut(self.train, start), **self._cut(self.inputs, start)}
        with self.game.autocast():
            made = self.game.task.generate(self.game.generator.network, batch)
            mended = {n: {**made, view.way.made: repair(made[view.way.made])} for n, repair in view.repairs.items()}
            judged = {n: view.match(self.game.matches(batch, each, moment)).fake_logits for n, each in mended.items()}
        return {name: logits.float().cpu() for name, logits in judged.items()}

    def _cut(self, batch: Batch, start: int) -> Batch:
        return {name: tensor[start : start + self.part].to(self.device) for name, tensor in batch.items()}


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
