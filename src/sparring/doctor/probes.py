"""Looks at a training: numbers that tell what is wrong, taken of the same samples and latents through the run.

A look changes nothing of the training. What looks cost is bounded to a share of the training's time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from sparring.data import Data
from sparring.doctor import numbers
from sparring.doctor.yardstick import Numbers, Yardstick, judged, weights_norm
from sparring.game import Batch, Game, Images, Match, Moment, kept_buffers
from sparring.run import Row
from sparring.seeds import derive_seed

COUNT = 256  # samples of each kind in a look
KNOWN = 2048  # training samples that copies are looked for among
SHARE = 0.05  # of the training's time that looks may take
MOST = 100  # looks over a whole run


class Prober:
    """Looks at one run's players.

    Args:
        game: what is trained.
        data: what it trains on.
        held_out: samples of the same distribution that it does not train on, or None.
        seed: the run's.
    """

    def __init__(self, game: Game, data: Data, held_out: Data | None, seed: int) -> None:
        self.game, self.classes = game, max(2, len(data.form.classes))
        self.device = next(game.generator.network.parameters()).device
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(seed, "look")))
        count = max(1, min(COUNT, len(data) // 2))
        self.train = self._on_device(data.batch(order[:count]))
        self.held_out = self._held_out(held_out, count)
        other = data.batch(order[count : 2 * count]) if self.held_out is None else self.held_out
        known = data.form.to_input(data.take(order[: max(KNOWN, 2 * count)]))
        real, compared = numbers.seen(self.train["real"]), numbers.seen(other["real"])
        self.yardstick = Yardstick(real, numbers.seen(known), compared, unseen=self.held_out is not None)
        latents = torch.Generator().manual_seed(derive_seed(seed, "look latents"))
        self.inputs = self._on_device(game.task.draw(count, latents))
        self.spent = self.last = 0.0
        self.looked_at = -1.0

    def begin(self, history: Sequence[Row]) -> None:
        """Go on with the looks that a run's log holds."""
        looks = [row for row in history if row.get("event") == "look"]
        self.spent = sum(row["cost"] for row in looks)
        self.looked_at = looks[-1]["progress"] if looks else -1.0

    def due(self, seconds: float, progress: float) -> bool:
        """Is it time for another look, and is there time? The last moment of a run always has one."""
        if progress >= 1:
            return True
        apart = not self.looked_at <= progress < self.looked_at + 1 / MOST
        return apart and self.spent + self.last <= SHARE * seconds

    def look(self, moment: Moment) -> Numbers:
        """The numbers of now, by name, with their cost in seconds; what this run cannot show is left out."""
        start = time.perf_counter()
        generator, discriminator = self.game.generator.network, self.game.discriminator.network
        with torch.no_grad(), torch.random.fork_rng(devices=[]), kept_buffers(generator, discriminator):
            torch.manual_seed(0)  # of augmentations and dropout: each look meets the same
            made = self.game.task.generate(generator, self.inputs)
            match = self._match(self.train, made, moment)
            held = None if self.held_out is None else self._match(self.held_out, made, moment).real_logits
            found = judged(self.game.loss, match.real_logits, match.fake_logits, held)
            found |= self._effects(made["fake"], match)
        found |= self.yardstick.measure(numbers.seen(made["fake"]))
        found |= {"weights/generator": weights_norm(generator), "weights/discriminator": weights_norm(discriminator)}
        self.looked_at, self.last = moment.progress, time.perf_counter() - start
        self.spent += self.last
        return {**found, "cost": round(self.last, 4)}

    def _held_out(self, data: Data | None, count: int) -> Batch | None:
        if data is None or len(data) < count:
            return None
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
        return self._on_device(data.batch(order[:count]))

    def _on_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _match(self, reals: Batch, made: Images, moment: Moment) -> Match:
        (match,) = self.game.matches({**reals, **self.inputs}, made, moment).values()
        return match

    def _effects(self, fakes: Tensor, match: Match) -> Numbers:
        """How much samples change with the class at the same latent, and with the latent at the same class; how much D
        minds a wrong class. Nothing without classes."""
        if "fake_label" not in self.inputs:
            return {}
        task, generator, same = self.game.task, self.game.generator.network, numbers.seen(fakes)
        label = self.inputs["fake_label"]
        others = {**self.inputs, "fake_label": (label + 1) % self.classes}
        turned = {name: tensor.roll(1, 0) for name, tensor in self.inputs.items()} | {"fake_label": label}
        by_class, by_latent = (
            float((numbers.seen(task.generate(generator, inputs)["fake"]) - same).norm(dim=1).mean())
            for inputs in (others, turned)
        )
        right, told = match.real_logits, self.train["label"]
        wrong = match.judge(match.real, (told + 1) % self.classes).logits
        usual = self.yardstick.usual["spread"]
        return {
            "effect/class": by_class / usual,
            "effect/latent": by_latent / usual,
            "effect/critic": float((right - wrong).mean() / right.std().clamp_min(1e-12)),
        }
