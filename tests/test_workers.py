"""Several workers train as one: equal steps, equal states, failures that name a worker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparring.assemble.build import training_data
from sparring.assemble.start import resolve_auto, start_state
from sparring.base.device import prepared
from sparring.base.workers import joined, workers
from sparring.recipe import Recipe
from sparring.training.step import Stepper
from sparring.training.step_metrics import turn_metrics

CPU = torch.device("cpu")
STEPS = 4
SGD = {"generator_optimizer": "SGD(lr=0.02)", "discriminator_optimizer": "SGD(lr=0.02)"}
SLOW = {"generator_optimizer": "SGD(lr=0.0002)", "discriminator_optimizer": "SGD(lr=0.0002)"}
MLP = {"generator": "MLPGenerator(hidden=(32,))", "discriminator": "MLPDiscriminator(hidden=(32,))"}
SMALL = {"generator": "DCGANGenerator(width=4, batch_norm=False)", "discriminator": "DCGANDiscriminator(width=4)"}
IMAGES = {"generator": "ResNetTranslator(width=4, blocks=1)", "discriminator": "PatchDiscriminator(width=4, layers=1)"}
ONE_TO_ONE = "R1(weight=0.5, every=1)"
CASES: dict[str, dict[str, Any]] = {
    "non-saturating": {**MLP, "penalties": ONE_TO_ONE},
    "wgan-gp": {
        **MLP,
        "loss": "Wasserstein()",
        "penalties": "GradientPenalty(weight=10)",
        "turns": "Alternating(n_critic=5)",
    },
    "unrolled": {**MLP, "turns": "Unrolled(depth=3)"},
    "relativistic": {**SMALL, "loss": "RelativisticPairing()", "penalties": f"{ONE_TO_ONE}, R2(weight=0.5, every=1)"},
    "projection": {
        **SMALL,
        "task": "Generate(latent=Normal(16), classes=True)",
        "loss": "Hinge()",
    },
    "cyclegan": {**IMAGES, "task": "Cycle(history=10)", "data": "digit-inverts", "loss": "LeastSquares()", **SLOW},
    "simultaneous": {**MLP, "turns": "Simultaneous()"},
    "reuse": {**MLP, "turns": "Alternating(reuse=True)"},
    "averages": {**SMALL, "loss": "RelativisticAverage()", "penalties": "FeatureMatching()"},
    "adaptive": {**SMALL, "augment": "ADA(images=200, every=1, start=0.5)", "penalties": "LeCam()"},
    "differentiable": {**SMALL, "augment": "DiffAugment()", "penalties": "Dragan()"},
    "noise": {**MLP, "augment": "InstanceNoise()"},
    "dropout": {
        "generator": "UNetGenerator(width=4, dropout=0.5, norm='none')",
        "discriminator": "PatchDiscriminator(width=4, layers=1, norm='none')",
        "task": "Translate()",
        "data": "digit-edges",
    },
    "micro-batches": {**MLP, "micro_batches": 2},
    "clipped": {**MLP, "clip_gradients": 0.1},
}
CASES = {name: {"batch_size": 8, "precision": "fp32", "device": "cpu", **SGD, **case} for name, case in CASES.items()}


def recipe_of(name: str) -> Recipe:
    return Recipe(**{"data": "digits", "penalties": "", "steps": STEPS, **CASES[name]})


def steps_of(name: str) -> dict[str, Tensor]:
    """All tensors of the state, and the metrics, after each step of a case, by name."""
    found: dict[str, Tensor] = {}
    recipe = recipe_of(name)
    data = training_data(recipe)
    recipe = resolve_auto(recipe, data, CPU)
    state = start_state(recipe, data, CPU)
    stepper = Stepper(recipe, data, state)
    for step in range(STEPS):
        metrics = turn_metrics(state.game, stepper(step / STEPS))
        found |= {f"{step}/metrics/{key}": torch.tensor(value) for key, value in metrics.items()}
        found |= {f"{step}/{key}": tensor.clone().contiguous() for key, tensor in state.tensors().items()}
    return found


def write_steps(folder: Path) -> None:
    """Write the steps of all cases, of this worker."""
    with prepared(CPU), joined(CPU):
        torch.set_num_threads(1)
        for name in CASES:
            save_file(steps_of(name), folder / f"{name}-{workers().rank}.safetensors")


def start_workers(count: int, arguments: Sequence[str], **environment: str) -> list[subprocess.Popen[str]]:
    """Start Python `count` times with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **environment}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def outputs(processes: Sequence[subprocess.Popen[str]], timeout: float = 300) -> list[str]:
    """What each process printed as errors, after all ended."""
    return [process.communicate(timeout=timeout)[1] for process in processes]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The steps of two workers."""
    folder = tmp_path_factory.mktemp("workers")
    processes = start_workers(2, [__file__, str(folder)])
    printed = outputs(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_workers_equal_one(name: str, two: Path) -> None:
    """After every step, weights, memory and metrics of two workers are those of one process with the whole batch."""
    first, second = (load_file(two / f"{name}-{rank}.safetensors") for rank in range(2))
    with prepared(CPU):
        torch.set_num_threads(1)
        alone = steps_of(name)
    assert first.keys() == second.keys() == alone.keys()
    for side in ("generator", "discriminator"):
        weights = [key[1:] for key in alone if key.startswith(f"0/{side}/")]
        assert any(not alone[f"0{key}"].equal(alone[f"{STEPS - 1}{key}"]) for key in weights), f"{side} does not learn"
    for key, tensor in alone.items():
        assert first[key].equal(second[key]), f"{key} differs between the workers"
        torch.testing.assert_close(first[key], tensor, rtol=2e-6, atol=5e-7, msg=lambda text, key=key: f"{key}: {text}")


if __name__ == "__main__":
    write_steps(Path(sys.argv[1]))
