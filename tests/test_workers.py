"""Several workers train as one: equal steps, equal states, failures that name a worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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

pytestmark = pytest.mark.slow
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


def start_workers(arguments: Callable[[int], Sequence[str]], **environment: str) -> list[subprocess.Popen[str]]:
    """Start Python twice, each with the arguments for its rank and the variables that torchrun sets."""
    count = 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **environment}
    return [
        subprocess.Popen(
            [sys.executable, *arguments(rank)],
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
    processes = start_workers(lambda rank: [__file__, str(folder)])
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
        # images that the history holds and metrics are results of sums whose rounding depends on the batch
        rtol, atol = (2e-5, 5e-6) if "/memory/" in key or "/metrics/" in key else (2e-6, 5e-7)
        torch.testing.assert_close(first[key], tensor, rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}")


USERS = """
import os, time
from dataclasses import dataclass
from sparring.losses import NonSaturating

last = os.environ["RANK"] == "1"
starts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@dataclass(frozen=True)
class Trouble(NonSaturating):
    kind: str = ""

    def generator(self, real, fake):
        calls.append(1)
        values = super().generator(real, fake)
        if len(calls) != 5 or not last or starts:
            return values
        if self.kind == "sleep":
            time.sleep(60)
        if self.kind == "kill":
            os.kill(os.getpid(), 9)
        return values * float("nan")


calls = []
"""
"""A loss that makes trouble on worker 1 in its fifth call: the first one tells its equilibrium, before training."""
TRAIN = ["train", "digits", "--device", "cpu", "--precision", "fp32", "--pictures", "1", "--log-every", "2"]
TRAIN += ["--generator", "MLPGenerator(hidden=(16,))", "--discriminator", "MLPDiscriminator(hidden=(16,))"]
TRAIN += ["--steps", "8", "--batch-size", "16"]


def command(run: Path, *arguments: str) -> list[str]:
    """The arguments of Python that train a small run."""
    return ["-m", "sparring", *TRAIN, "--out", str(run), *arguments]


def troubled(run: Path, kind: str) -> list[str]:
    (run.parent / "users.py").write_text(USERS)
    return command(run, "--loss", f"users.Trouble(kind='{kind}')", "--trust")


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics of all steps in a log."""
    found = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row for row in found if "event" not in row]


def weights(run: Path) -> dict[str, Tensor]:
    """The tensors of the last checkpoint."""
    return load_file(max((run / "checkpoints").glob("*.safetensors")))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two workers, started by `--devices 2`."""
    run = tmp_path_factory.mktemp("pair") / "run"
    done = subprocess.run([sys.executable, *command(run, "--devices", "2")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Report:") == done.stderr.count("Training in") == 1, "only the first worker prints"
    return run


def test_the_log_of_two_workers_is_that_of_one(pair: Path, tmp_path: Path) -> None:
    alone = tmp_path / "run"
    subprocess.run([sys.executable, *command(alone)], check=True, capture_output=True)
    assert [row["step"] for row in rows(pair)] == [2, 4, 6, 8]
    for of_pair, of_one in zip(rows(pair), rows(alone), strict=True):
        assert of_pair.keys() == of_one.keys()
        for name in of_one:
            if name != "seconds" and not name.startswith("overhead/"):
                assert of_pair[name] == pytest.approx(of_one[name], rel=1e-3, abs=1e-4), name


def test_a_killed_worker_is_restarted_and_continues(pair: Path, tmp_path: Path) -> None:
    """torchrun restarts both; they continue from the last checkpoint, and end with the bits of an undisturbed run."""
    run = tmp_path / "run"
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    words = [sys.executable, *torchrun, *troubled(run, "kill"), "--checkpoint-every", "0.00001"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log if row.get("event") == "resumed"] == [3], "the steps since the last checkpoint"
    assert [row["step"] for row in rows(run)] == [2, 4, 6, 8]
    undisturbed = weights(pair)
    assert weights(run).keys() == undisturbed.keys()
    assert all(tensor.equal(undisturbed[name]) for name, tensor in weights(run).items())


def test_a_worker_that_sleeps_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = troubled(run, "sleep")
    awake, asleep = start_workers(lambda rank: words, PYTHONPATH=str(tmp_path), SPARRING_TIMEOUT="4")
    try:
        _, printed = awake.communicate(timeout=120)
        assert asleep.poll() is None, "named while it sleeps"
        assert awake.returncode == 1
        assert f"worker 1 (process {asleep.pid} on " in printed
        assert "within 4 s" in printed
    finally:
        asleep.kill()
        asleep.communicate()


def test_nan_on_one_worker_ends_all_with_its_term(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = troubled(run, "nan")
    processes = start_workers(lambda rank: words, PYTHONPATH=str(tmp_path))
    first, second = outputs(processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert "step 3: the generator's term 'adversarial' is nan" in first, "the term, which was NaN on worker 1 alone"
    assert "Traceback" not in first + second


@pytest.mark.parametrize(
    ("option", "values", "named"),
    [
        ("--seed", ("0", "1"), ("recipe field seed: 0 on worker 0, 1 on worker 1",)),
        ("--data", ("digits", "ring"), ("data: digits with hash ", ", ring with hash ", " on worker 1")),
    ],
)
def test_workers_that_differ_are_named(
    option: str, values: tuple[str, str], named: tuple[str, ...], tmp_path: Path
) -> None:
    processes = start_workers(lambda rank: command(tmp_path / "run", option, values[rank]))
    first, second = outputs(processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert all(text in first for text in named), first
    assert not (tmp_path / "run").exists()
    assert "Traceback" not in first + second


def test_a_batch_that_workers_cannot_divide_is_refused(tmp_path: Path) -> None:
    processes = start_workers(lambda rank: command(tmp_path / "run", "--batch-size", "15"))
    first, _ = outputs(processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert "batch_size=15 cannot be divided among 2 workers" in first
    assert "--batch-size 14" in first


@pytest.mark.cpu_only("the processes would need two GPUs")
def test_samples_and_scores_of_two_processes_are_those_of_one(pair: Path, tmp_path: Path) -> None:
    """More samples than one chunk, so that both have some to do."""
    for name, more in (("one", []), ("two", ["--devices", "2"])):
        sample = ["sample", str(pair), "--count", "600", "--out", str(tmp_path / f"{name}.npy"), *more]
        score = ["evaluate", str(pair), "--count", "600", "--extractor", "Pixels()", "--json", *more]
        subprocess.run([sys.executable, "-m", "sparring", *sample], check=True, capture_output=True)
        scored = subprocess.run([sys.executable, "-m", "sparring", *score], check=True, capture_output=True, text=True)
        (tmp_path / f"{name}.json").write_text(scored.stdout)
    assert (np.load(tmp_path / "one.npy") == np.load(tmp_path / "two.npy")).all()
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())[0]["values"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(one[name] == pytest.approx(two[name], nan_ok=True) for name in one)
    assert len((pair / "scores.jsonl").read_text().splitlines()) == 2, "each command writes its scores once"


if __name__ == "__main__":
    write_steps(Path(sys.argv[1]))
