"""Drawing samples from a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.game import Images, Task
from sparring.seeds import derive_seed

CHUNK = 256  # part of what a seed means: each chunk has latents of its own seed


@torch.no_grad()
def draw_made(task: Task, network: nn.Module, count: int, seed: int, labels: Tensor | None = None) -> Images:
    """Samples (`fake`) as the network makes them, [count, ...] on the CPU, with the classes that they were made for
    (`fake_label`) where the task has classes. The network is in evaluation mode meanwhile.

    The same seed gives the same samples; a larger count goes on with more of them. `labels` [count] asks for classes.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, count, CHUNK):
        rng = torch.Generator().manual_seed(derive_seed(seed, "sample", start))
        inputs = dict(task.draw(CHUNK, rng))
        if labels is not None:
            wanted = labels[start : start + CHUNK]
            inputs["fake_label"][: len(wanted)] = wanted
        made = task.generate(network, {name: tensor.to(device) for name, tensor in inputs.items()})
        for name, tensor in {**inputs, **made}.items():
            if name in ("fake", "fake_label"):
                parts.setdefault(name, []).append(tensor.cpu())
    network.train(was_training)
    return {name: torch.cat(tensors)[:count] for name, tensors in parts.items()}


def draw_samples(task: Task, network: nn.Module, count: int, seed: int) -> Tensor:
    """The samples alone."""
    return draw_made(task, network, count, seed)["fake"]


@torch.no_grad()
def draw_gallery(task: Task, network: nn.Module, seed: int) -> tuple[Tensor, int]:
    """The samples of the task's gallery on the CPU, and the number of columns."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    inputs, columns = task.gallery(torch.Generator().manual_seed(derive_seed(seed, "sample", 0)))
    made = task.generate(network, {name: tensor.to(device) for name, tensor in inputs.items()})
    network.train(was_training)
    return made["fake"].cpu(), columns
