"""One training step."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.assemble.build import build_ema, build_turns
from sparring.assemble.state import State
from sparring.base.device import sent
from sparring.base.seeds import derive_seed
from sparring.base.workers import workers
from sparring.data.sampler import Sampler
from sparring.data.samples import Data
from sparring.game.match import Batch, Moment, Side
from sparring.game.outcome import Turn
from sparring.recipe import Recipe
from sparring.training.feed import Feed


class Stepper:
    """Each call takes one training step: seed, turns of D and G, EMA. Batches are split into micro-batches."""

    def __init__(self, recipe: Recipe, data: Data, state: State) -> None:
        self.recipe, self.data, self.state = recipe, data, state
        self.turns, self.ema = build_turns(recipe), build_ema(recipe)
        # samples travel to an accelerator as stored (uint8), unless floats are computed from them on the CPU first
        as_floats = state.task.prepares or data.form.is_points
        device = torch.device("cpu") if as_floats else state.device
        group, sampler = workers(), Sampler(len(data), recipe.seed)
        reader = None if data.stream is None else data.stream.reader(recipe.seed, group.rank, group.count)

        def own_indices(position: int, count: int) -> Tensor:
            return sampler.take(position, count)[group.rows(count)]

        def own_samples(position: int, count: int) -> dict[str, Tensor]:
            assert reader is not None
            return reader.take(position // group.count, count // group.count)

        self.feed = Feed(data, recipe.mirror, device, own_indices, streamed=own_samples if reader else None)

    def __call__(self, progress: float) -> dict[Side, Turn]:
        state, recipe = self.state, self.recipe
        torch.manual_seed(derive_seed(recipe.seed, "step", 0, state.step))  # the same for all workers
        turns = self.turns(state.game, self.next_batches, Moment(state.step, progress))
        if self.ema is not None and state.average is not None:
            seen = state.step * recipe.batch_size
            self.ema.update(state.average, state.game.generator.network, seen, recipe.batch_size)
        state.step += 1
        return turns

    def close(self) -> None:
        """End the thread that prepares batches; no further step can be taken."""
        self.feed.close()

    def next_batches(self) -> list[Batch]:
        """This worker's part of the next real samples in the sampler's order, with fresh latents, on the device."""
        count, data, task, device = self.recipe.batch_size, self.data, self.state.task, self.state.device
        own = workers().rows(count)
        drawn = {name: tensor[own] for name, tensor in task.draw(count).items()}
        samples = self.feed.take(self.state.position, count)
        self.state.position += count
        prepared = self.prepared({**data.to_input(samples), **drawn})
        batch = {name: sent(tensor, device) for name, tensor in prepared.items()}
        count, part = own.stop - own.start, (own.stop - own.start) // self.recipe.micro_batches
        return [{n: t[i : i + part] for n, t in batch.items()} for i in range(0, count, part)]

    def prepared(self, batch: Batch) -> Batch:
        """The batch after the task's preparation; each worker degrades its images with random numbers of its own."""
        task = self.state.task
        if not (task.prepares and workers().several):
            return task.prepare(batch)
        seed = derive_seed(self.recipe.seed, "prepare", workers().rank, self.state.position)
        return task.prepare(batch, torch.Generator().manual_seed(seed))
