"""Looks at a training: numbers that tell what is wrong, taken of the same samples and latents through the run.

A look changes nothing of the training. What looks cost is bounded to a share of the training's time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sparring.data import Data
from sparring.doctor import leaks, numbers
from sparring.doctor.looks import COUNT, FEWEST, KNOWN, Pace, measured, untouched
from sparring.doctor.verdicts import SURE
from sparring.doctor.yardstick import Numbers, Yardstick
from sparring.game import Game, Moment
from sparring.match import Batch, Images, Match
from sparring.metrics.convergence import ranking
from sparring.run import Row
from sparring.schedules import at
from sparring.seeds import derive_seed
from sparring.tasks.base import Translating

IMAGES = 64  # in a look at a task that turns images into others, whose networks are slow


class Prober:
    """Looks at one run's players.

    Args:
        game: what is trained.
        data: what it trains on, at least 2 * FEWEST samples.
        held_out: samples of the same distribution that it does not train on, or None.
        seed: the run's.
        part: how many samples the networks see at once, as in training.
    """

    def __init__(self, game: Game, data: Data, held_out: Data | None, seed: int, part: int) -> None:
        self.game, self.part, self.classes = game, part, max(2, len(data.form.classes))
        self.paired = data.paired  # of tasks that turn images into others
        self.device = next(game.generator.network.parameters()).device
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(seed, "look")))
        held_out = None if held_out is None or not fits(held_out, data) else held_out
        most = IMAGES if isinstance(game.task, Translating) else COUNT
        count = min(most, len(data) // 2, COUNT if held_out is None else len(held_out))
        rng = torch.Generator().manual_seed(derive_seed(seed, "look inputs"))
        self.train = game.task.prepare(data.batch(order[:count]), rng)
        self.held_out = None if held_out is None else game.task.prepare(_chosen(held_out, data, count), rng)
        other = data.batch(order[count : 2 * count]) if self.held_out is None else self.held_out
        parts = order[: max(KNOWN, 2 * count)].split(64)
        known = torch.cat([numbers.seen(data.form.to_input(data.take(chosen))) for chosen in parts])
        real, compared = numbers.seen(self.train["real"]), numbers.seen(other["real"])
        self.yardstick = Yardstick(real, known, compared, unseen=self.held_out is not None)
        self.repairs = {} if data.form.map else leaks.repairs(self.train["real"])  # see `leaks`
        self.inputs = game.task.draw(count, torch.Generator().manual_seed(derive_seed(seed, "look latents")))
        self.pace = Pace()

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
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        found = measured(self.yardstick, at(self.game.loss, moment.progress), tensors, generator, discriminator)
        if found["finite"]:
            found |= self._leaks(tensors, moment)
        took = time.perf_counter() - start
        self.pace.took(took, moment.progress)
        return {**found, "cost": round(took, 4)}

    def _part(self, start: int, moment: Moment) -> dict[str, Tensor]:
        """What the players make and say of a part of the samples, on the CPU: logits and seen samples."""
        task, generator = self.game.task, self.game.generator.network
        inputs, reals = self._cut(self.inputs, start), self._cut(self.train, start)
        with self.game.autocast():
            made = task.generate(generator, {**reals, **inputs})
            match = self._match({**reals, **inputs}, made, moment)
            if isinstance(task, Translating):
                return self._translated(reals, made, match, moment, start)
            found = {"made": numbers.seen(made["fake"]), "real": match.real_logits, "fake": match.fake_logits}
            if self.held_out is not None:
                held = self._match({**self._cut(self.held_out, start), **inputs}, made, moment)
                found["held_out"] = held.real_logits
            if "fake_label" in inputs:
                label = inputs["fake_label"]
                others = {**inputs, "fake_label": (label + 1) % self.classes}
                turned = {name: tensor.roll(1, 0) for name, tensor in inputs.items()} | {"fake_label": label}
                found["other class"] = numbers.seen(task.generate(generator, others)["fake"])
                found["other latent"] = numbers.seen(task.generate(generator, turned)["fake"])
                found["wrong"] = match.judge(match.real, (reals["label"] + 1) % self.classes).logits
        return {name: tensor.float().cpu() for name, tensor in found.items()}

    def _translated(self, reals: Batch, made: Images, match: Match, moment: Moment, start: int) -> dict[str, Tensor]:
        """The same of a task that turns images into others; `truth` are what these belong to, where that is known."""
        found = {"made": numbers.seen(made["fake"]), "real": match.real_logits, "fake": match.fake_logits}
        if self.paired:
            found["truth"] = numbers.seen(reals["real"])
        else:
            found["turned"] = found["made"]
        if self.held_out is not None:
            held = self._cut(self.held_out, start)
            unseen = self.game.task.generate(self.game.generator.network, held)
            found["held_out"] = self._match(held, unseen, moment).real_logits
        return {name: tensor.float().cpu() for name, tensor in found.items()}

    def _leaks(self, tensors: Mapping[str, Tensor], moment: Moment) -> Numbers:
        """Where D is rather sure, how well it does once a silly difference is repaired in the fakes; else nothing."""
        real = tensors.get("held_out", tensors["real"])
        if ranking(real, tensors["fake"]) <= SURE:
            return {}
        with untouched(self.game.generator.network, self.game.discriminator.network):
            parts = [self._repaired(i, moment) for i in range(0, len(self.train["real"]), self.part)]
        return {f"leak/{name}": ranking(real, torch.cat([part[name] for part in parts])) for name in self.repairs}

    def _repaired(self, start: int, moment: Moment) -> dict[str, Tensor]:
        """D's logits of a part of the fakes after each repair."""
        inputs, reals = self._cut(self.inputs, start), self._cut(self.train, start)
        with self.game.autocast():
            made = self.game.task.generate(self.game.generator.network, {**reals, **inputs})
            judged = {
                name: self._match({**reals, **inputs}, {**made, "fake": repair(made["fake"])}, moment).fake_logits
                for name, repair in self.repairs.items()
            }
        return {name: logits.float().cpu() for name, logits in judged.items()}

    def _cut(self, batch: Batch, start: int) -> Batch:
        return {name: tensor[start : start + self.part].to(self.device) for name, tensor in batch.items()}

    def _match(self, batch: Batch, made: Images, moment: Moment) -> Match:
        """The match that it looks at: of several, the first."""
        return next(iter(self.game.matches(batch, made, moment).values()))


def fits(held_out: Data, data: Data) -> bool:
    """Are there enough held-out samples, of the training samples' shape, and labelled where these are?"""
    alike = held_out.form.shape == data.form.shape and (held_out.labels is None) == (data.labels is None)
    return alike and len(held_out) >= FEWEST


def _chosen(held_out: Data, data: Data, count: int) -> Batch:
    """Held-out samples as the networks see them: in the form of the training samples."""
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))[:count]
    found = held_out.batch(order)
    return {**found, "real": data.form.to_input(held_out.take(order))}
