"""Drawing samples from a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.game import Batch, Images, Task
from sparring.seeds import derive_seed

CHUNK = 256  # part of what a seed means: each chunk has latents of its own seed


@torch.no_grad()
def make_samples(task: Task, network: nn.Module, inputs: Batch) -> Tensor:
    """What the network makes of inputs on the CPU, [n, ...] on the CPU; it is in evaluation mode meanwhile."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), CHUNK):
        batch = {name: tensor[start : start + CHUNK].to(device) for name, tensor in inputs.items()}
        parts.append(task.generate(network, batch)["fake"].cpu())
    network.train(was_training)
    return torch.cat(parts)


def draw_made(task: Task, network: nn.Module, count: int, seed: int, labels: Tensor | None = None) -> Images:
    """Samples (`fake`) as the network makes them, [count, ...] on the CPU, with the classes that they were made for
    (`fake_label`) where the task has classes.

    The same seed gives the same samples; a larger count goes on with more of them. `labels` [count] asks for classes.
    """
    parts = []
    for start in range(0, count, CHUNK):
        inputs = dict(task.draw(CHUNK, torch.Generator().manual_seed(derive_seed(seed, "sample", start))))
        if labels is not None:
            wanted = labels[start : start + CHUNK]
            inputs["fake_label"][: len(wanted)] = wanted
        made = {"fake": make_samples(task, network, inputs)}
        parts.append(made | {name: inputs[name] for name in ("fake_label",) if name in inputs})
    return {name: torch.cat([part[name] for part in parts])[:count] for name in parts[0]}


def draw_samples(task: Task, network: nn.Module, count: int, seed: int) -> Tensor:
    """The samples alone."""
    return draw_made(task, network, count, seed)["fake"]


def draw_gallery(task: Task, network: nn.Module, seed: int) -> tuple[Tensor, int]:
    """The samples of the task's gallery on the CPU, and the number of columns."""
    inputs, columns = task.gallery(torch.Generator().manual_seed(derive_seed(seed, "sample", 0)))
    return make_samples(task, network, inputs), columns
