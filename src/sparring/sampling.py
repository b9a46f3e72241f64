"""Drawing samples from a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.game import Task
from sparring.seeds import derive_seed

CHUNK = 256  # part of what a seed means: each chunk has latents of its own seed


@torch.no_grad()
def draw_samples(task: Task, network: nn.Module, count: int, seed: int) -> Tensor:
    """Samples as the network makes them, [count, ...] on the CPU, in evaluation mode.

    The same seed gives the same samples; a larger count goes on with more of them.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    parts = []
    for start in range(0, count, CHUNK):
        rng = torch.Generator().manual_seed(derive_seed(seed, "sample", start))
        inputs = {name: tensor.to(device) for name, tensor in task.draw(CHUNK, rng).items()}
        parts.append(task.generate(network, inputs)["fake"].cpu())
    network.train(was_training)
    return torch.cat(parts)[:count]
