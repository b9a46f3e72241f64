"""Images per second of the lecture's networks and loss: the notebook's plain loop, ours in fp32, ours in bf16.

All three do the same mathematics (generator's step first, the discriminator on the same images, Adam 2e-4 with betas
0.5 and 0.999, batch 128). They take turns in short blocks, so that a noisy machine hits all alike; the medians count.

    python -m benchmarks.speed [--blocks 9] [--steps 40]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sparring import load_recipe
from sparring.assemble.start import resolve_auto, start_state
from sparring.base.device import find_precision, prepared
from sparring.data.load import load_data
from sparring.data.samples import Data
from sparring.training.step import Stepper

CPU = torch.device("cpu")
BATCH = 128


class PlainDataset(Dataset[Tensor]):
    """MNIST the way notebooks read it: a PIL image and a chain of transforms for each sample."""

    def __init__(self, data: Data) -> None:
        self.images = data.samples[:, 0].numpy()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.fromarray(self.images[index])
        tensor = torch.from_numpy(np.array(image, np.uint8)).view(28, 28, 1).permute(2, 0, 1).contiguous()
        return tensor.float().div(255).sub(0.5).div(0.5)  # ToTensor, then Normalize


def notebook_loop(data: Data) -> Callable[[], None]:
    """One step of the notebook at a call."""
    widths = [100, 256, 512, 1024, 784]
    hidden: list[nn.Module] = []
    for before, after in zip(widths[:-2], widths[1:-1]):
        hidden += [nn.Linear(before, after), nn.ReLU()]
    generator = nn.Sequential(*hidden, nn.Linear(1024, 784), nn.Tanh())
    judge: list[nn.Module] = []
    for before, after in zip([784, 1024, 512], [1024, 512, 256]):
        judge += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    discriminator = nn.Sequential(*judge, nn.Linear(256, 1), nn.Sigmoid())
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loss = nn.BCELoss()

    def batches() -> object:
        while True:
            yield from DataLoader(PlainDataset(data), BATCH, shuffle=True, drop_last=True)

    endless = iter(batches())  # type: ignore[call-overload]

    def step() -> None:
        real = next(endless).view(BATCH, -1)
        valid, fake = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
        of_generator.zero_grad()
        made = generator(torch.randn(BATCH, 100))
        loss(discriminator(made), valid).backward()
        of_generator.step()
        of_discriminator.zero_grad()
        ((loss(discriminator(real), valid) + loss(discriminator(made.detach()), fake)) / 2).backward()
        of_discriminator.step()

    return step


def our_loop(data: Data, precision: str) -> Callable[[], None]:
    """One step of the recipe `lecture` at a call."""
    recipe = load_recipe("lecture").replace(precision=precision, device="cpu")
    stepper = Stepper(recipe, data, start_state(resolve_auto(recipe, data, CPU), data, CPU))
    return lambda: (stepper(0.0), None)[1]


def rate(step: Callable[[], None], steps: int) -> float:
    """Images per second over some steps."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    chosen = parser.parse_args()
    data = load_data("mnist")
    plain = notebook_loop(data)  # before `prepared`, but flushing denormals holds for the whole process
    with prepared(CPU):
        loops = {
            "notebook, fp32": plain,
            "sparring, fp32": our_loop(data, "fp32"),
            "sparring, bf16": our_loop(data, "bf16"),
        }
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for block in range(chosen.blocks + 1):
            for name, step in loops.items():
                measured = rate(step, chosen.steps)
                if block:  # the first block warms up
                    rates[name].append(measured)
    auto = find_precision("auto", CPU)
    print(f"lecture's networks, batch {BATCH}, {torch.get_num_threads()} threads; precision auto is {auto} here")
    base = statistics.median(rates["notebook, fp32"])
    for name, values in rates.items():
        median = statistics.median(values)
        print(
            f"{name:16} {median:9,.0f} images/s (from {min(values):,.0f} to {max(values):,.0f})  {median / base:.2f}x"
        )


if __name__ == "__main__":
    main()
