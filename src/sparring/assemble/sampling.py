"""Draw samples from a generator, in chunks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.base.seeds import derive_seed
from sparring.base.workers import in_parts
from sparring.game.condition import FAKE, NOTHING, Condition
from sparring.game.match import Batch, Images
from sparring.tasks.base import Task

CHUNK = 256  # samples per chunk; each chunk seeds its latents, so another value gives other samples for the same seed
PIXELS = 1 << 19  # pixels per forward pass, at most


def generate_samples(task: Task, network: nn.Module, inputs: Batch) -> Tensor:
    """The network's output for inputs on the CPU, [n, ...] on the CPU, in evaluation mode."""
    return generate_outputs(task, network, inputs)["fake"]


@torch.no_grad()
def generate_outputs(task: Task, network: nn.Module, inputs: Batch) -> Images:
    """All outputs of the network for these inputs, by name, on the CPU, in evaluation mode."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    chunk = max(1, min(CHUNK, PIXELS // task.sample_pixels(inputs)))

    def outputs_from(start: int) -> Images:
        batch = {name: tensor[start : start + chunk].to(device) for name, tensor in inputs.items()}
        return {name: tensor.cpu() for name, tensor in task.generate(network, batch).items()}

    parts = in_parts(outputs_from, range(0, len(next(iter(inputs.values()))), chunk))
    network.train(was_training)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def draw_conditioned(
    task: Task, network: nn.Module, count: int, seed: int, wanted: Condition = NOTHING
) -> tuple[Tensor, Condition]:
    """Draw samples from the network.

    The same seed gives the same samples; a larger count appends to them.

    Args:
        wanted: conditions [count] to generate for; by default the task draws them.

    Returns:
        Samples [count, ...] on the CPU, in the network's range, and their conditions.
    """
    seeds = (derive_seed(seed, "sample", start) for start in range(0, count, CHUNK))
    drawn = [task.draw(CHUNK, torch.Generator().manual_seed(each)) for each in seeds]
    inputs = {name: torch.cat([part[name] for part in drawn])[:count] for name in drawn[0]} | wanted.to_batch(FAKE)
    return generate_samples(task, network, inputs), Condition.from_batch(inputs, FAKE)


def draw_samples(task: Task, network: nn.Module, count: int, seed: int) -> Tensor:
    """The samples of `draw_made`, without their conditions."""
    return draw_conditioned(task, network, count, seed)[0]


def draw_gallery(task: Task, network: nn.Module, seed: int) -> tuple[Tensor, int]:
    """Samples for the task's gallery on the CPU, and the number of columns."""
    inputs, columns = task.gallery(torch.Generator().manual_seed(derive_seed(seed, "sample", 0)))
    return generate_samples(task, network, inputs), columns
