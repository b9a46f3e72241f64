"""The training state: networks, optimisers, the EMA, and the position in the run; saved as checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sparring.assemble.sampling import PIXELS
from sparring.base.errors import NotFiniteError, UserError
from sparring.base.seeds import derive_seed
from sparring.data.samples import Data
from sparring.game.ema import recompute_statistics
from sparring.game.game import Game, Player
from sparring.run import checkpoint
from sparring.run.checkpoint import Manifest, optimizer_tensors, restore_network, restore_optimizer, under
from sparring.run.clock import Clock
from sparring.run.directory import Run
from sparring.run.log import Row
from sparring.tasks.base import Task, task_of

BATCHES, BATCH, STATISTICS_PIXELS = 25, 64, 1 << 20  # limits for recomputing the statistics of batch normalisation


@dataclass
class State:
    """The state of a run in training.

    Attributes:
        game: the networks, optimisers and losses.
        average: the generator with averaged weights (EMA), or None.
        step: steps taken.
        position: samples taken from the sampler.
        clock: seconds of training and of overheads.
        renewed_at: the step for which the average's batch statistics were recomputed; -1: none.
        probed_at: samples of the previous probe (`doctor="treat"`); the next probe measures movement against them.
    """

    game: Game
    average: nn.Module | None
    step: int = 0
    position: int = 0
    clock: Clock = field(default_factory=Clock)
    renewed_at: int = -1
    probed_at: Tensor | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return self.clock.seconds

    @property
    def task(self) -> Task:
        return task_of(self.game)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.game.generator.network.parameters()).device

    @property
    def sampling_network(self) -> nn.Module:
        """The generator to sample from: the average if there is one."""
        return self.game.generator.network if self.average is None else self.average

    @property
    def players(self) -> dict[str, Player]:
        return {"generator": self.game.generator, "discriminator": self.game.discriminator}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The players' networks and, if there is one, the average."""
        average = {} if self.average is None else {"average": self.average}
        return {**{name: player.network for name, player in self.players.items()}, **average}

    def renew_statistics(self, data: Data, seed: int) -> None:
        """Recompute the batch normalisation statistics of the average for its current weights, before sampling.

        They depend on the weights and the run's seed only, so a resumed run gets the same.

        Raises:
            NotFiniteError: a deferred check failed; see `FiniteChecks`.
        """
        self.game.checks.read()
        average = self.average
        if average is None or self.renewed_at == self.step:
            return
        rng = torch.Generator().manual_seed(derive_seed(seed, "statistics"))
        pixels = self.task.sample_pixels(data.batch(torch.zeros(1, dtype=torch.int64)))
        size = max(2, min(BATCH, PIXELS // pixels))

        def one_batch() -> None:
            drawn = {**data.batch(torch.randint(len(data), (size,), generator=rng)), **self.task.draw(size, rng)}
            batch = {name: tensor.to(self.device) for name, tensor in self.task.prepare(drawn, rng).items()}
            self.task.generate(average, batch)

        recompute_statistics(average, one_batch, max(2, min(BATCHES, STATISTICS_PIXELS // (size * pixels))))
        self.renewed_at = self.step

    def row(self, kind: str = "", /, **values: Any) -> Row:
        """A log row at this step, of a kind from `sparring.run.log`; "" for the metrics of a step."""
        event = {"event": kind} if kind else {}
        return {"step": self.step, "seconds": round(self.seconds, 3), **event, **values}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of a checkpoint, by name: `PART/NAME`."""
        parts = {part: network.state_dict() for part, network in self.networks.items()}
        parts |= {f"{part}_optimizer": optimizer_tensors(p.optimizer) for part, p in self.players.items()}
        parts |= {f"memory/{name}": component.memory for name, component in self.game.stateful.items()}
        parts |= {} if self.probed_at is None else {"doctor": {"looked_at": self.probed_at}}
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def check(self) -> None:
        """Raise NotFiniteError if any tensor is NaN or infinite, so that no such state is saved."""
        bad = [name for name, tensor in self.tensors().items() if not tensor.isfinite().all()]
        if bad:
            raise NotFiniteError(f"step {self.step}: '{bad[0]}' is not finite after the players' turns")

    def restore(self, manifest: Manifest, tensors: dict[str, Tensor]) -> None:
        """Restore the state from a checkpoint's manifest and tensors.

        Raises:
            UserError: the checkpoint does not fit the recipe.
        """
        for part, network in self.networks.items():
            restore_network(network, under(part, tensors), part)
        for part, player in self.players.items():
            restore_optimizer(player.optimizer, under(f"{part}_optimizer", tensors), f"{part}_optimizer")
        for name, component in self.game.stateful.items():
            saved = under(f"memory/{name}", tensors)
            if not component.memory.keys() <= saved.keys():
                missing = f"{name.partition('-')[2]}; restore the recipe.toml that the run started with"
                raise UserError(f"the checkpoint does not fit the recipe: it holds no memory of {missing}")
            component.restore(saved, self.device)
        self.go_on_from(manifest)
        self.probed_at = tensors.get("doctor/looked_at")

    def go_on_from(self, manifest: Manifest) -> None:
        """Take the position in the run and the times from a checkpoint's manifest."""
        self.step, self.position, self.clock = manifest.step, manifest.position, manifest.clock

    def take_over(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy what fits from the tensors of a run with another recipe; the step stays.

        Components that the other recipe does not have keep their initial state.

        Raises:
            UserError: the networks have other layers.
        """
        parts = {name: under(name, tensors) for name in ("generator", "discriminator", "average")}
        for name, player in self.players.items():
            if parts[name]:
                restore_network(player.network, parts[name], name)
            moments = under(f"{name}_optimizer", tensors)
            if moments:
                restore_optimizer(player.optimizer, moments, f"{name}_optimizer")
        if self.average is not None and parts["generator"]:
            restore_network(self.average, parts["average"] or parts["generator"], "average")
        for name, component in self.game.stateful.items():
            saved = under(f"memory/{name}", tensors)
            if component.memory.keys() <= saved.keys():
                component.restore(saved, self.device)

    def described(self) -> dict[str, Any]:
        """The position in the run and the times, as in a checkpoint's manifest."""
        times = {"seconds": self.seconds, "overheads": self.clock.overheads}
        return {"step": self.step, "position": self.position, **times}

    def save(self, run: Run, score: float | None, keep: int, score_name: str = "sliced_wasserstein") -> None:
        """Save a checkpoint; keep the last `keep` checkpoints and the best one.

        Args:
            score: lower is better; None if there is none.
            score_name: the name of the score.
        """
        manifest = {**self.described(), "score": score, "score_name": score_name}
        checkpoint.save(run.checkpoints, self.tensors(), manifest, run.fix)
        saved = checkpoint.manifests(run.checkpoints)
        kept = {m.step for m in saved[-keep:]}
        best = best_of(saved)
        for old in saved:
            if old.step not in kept and old is not best:
                checkpoint.remove(run.checkpoints, old)


def best_of(saved: Sequence[Manifest]) -> Manifest | None:
    """The checkpoint with the lowest score, among those scored by the same name as the latest; None without scores."""
    scored = [m for m in saved if m.score is not None and not math.isnan(m.score)]
    scored = [m for m in scored if m.score_name == scored[-1].score_name]
    return min(scored, key=lambda m: m.score if m.score is not None else math.inf) if scored else None


def find_checkpoint(run: Run, which: str = "last") -> Manifest:
    """The checkpoint `which` of a run: "last", "best", or a step such as "1200".

    Without scored checkpoints, "best" is the last one.

    Raises:
        UserError: there is no such checkpoint.
    """
    saved = checkpoint.manifests(run.checkpoints)
    if not saved:
        raise UserError(f"{run.path} has no checkpoint (it stopped before the first); train again with another --out")
    if which == "last":
        return saved[-1]
    if which == "best":
        return best_of(saved) or saved[-1]
    found = [m for m in saved if str(m.step) == which]
    if not found:
        steps = ", ".join(str(m.step) for m in saved)
        raise UserError(f"{run.path} has no checkpoint {which!r}; choose from: last, best, {steps}")
    return found[0]
