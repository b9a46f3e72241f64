"""Steps on a simulated accelerator: no mixed devices, and the host waits for the device only at log rows."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import accelerator
import pytest
import torch

from sparring.recipe import recipe_names

pytestmark = [
    pytest.mark.cpu_only("it simulates an accelerator"),
    pytest.mark.slow,
    pytest.mark.skipif(not accelerator.available(), reason="this torch registers no device from Python"),
]

# functions that wait for the device at a log row, and what they read
ALLOWED = {
    "game/finite.py:_first_error": "the first deferred check that failed",
    "training/step_metrics.py:numbers": "terms, gradient norms, logits and accuracy, in one transfer",
    "game/augment/adaptive.py:readings": "strength and heuristic of ADA",
}
ADAPTIVE = {"small-data"} | {job for job in accelerator.CASES if job.startswith("adaptive")}
AS_FLOATS = {"inpaint", "restore", "super-resolution"}  # sources are computed from floats on the CPU
POINTS = {"grid", "ring", "unrolled-ring"}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """What the program prints; in a process of its own, because the device stays registered."""
    command = [sys.executable, accelerator.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("job", [*recipe_names(), *accelerator.CASES])
def test_steps_neither_mix_devices_nor_wait(results: dict[str, Any], job: str) -> None:
    found = results[job]
    assert found["steps"] == [], "events within steps"
    assert found["difference"] < 1e-4, "the values are those of a CPU"
    assert found["route"] == ("direct" if job in AS_FLOATS | POINTS else "resident")
    assert found["images"] == (["torch.float32"] if job in AS_FLOATS else [])
    reads = [site for what, site in found["row"] if what == "read"]
    assert sorted(reads) == sorted({*ALLOWED} - (set() if job in ADAPTIVE else {"game/augment/adaptive.py:readings"}))
    assert len(reads) == len(found["row"])


@pytest.mark.parametrize("job", accelerator.AHEAD)
def test_samples_that_stay_in_memory_travel_as_stored_without_waiting(results: dict[str, Any], job: str) -> None:
    found = results["ahead"][job]
    assert found["steps"] == []
    assert found["route"] == ("direct" if job in AS_FLOATS else "ahead")
    assert found["images"] == ["torch.float32" if job in AS_FLOATS else "torch.uint8"]
    assert found["differing"] == [], "the bits are those of samples that stay on the device"


@pytest.mark.parametrize("job", accelerator.RESTORED)
def test_memory_returns_to_the_device(results: dict[str, Any], job: str) -> None:
    found = results["restored"][job]
    assert found["differing"] == []
    assert found["row"], "the log row is that of an uninterrupted run"
    counters = {
        "adaptive": {"logits", "samples", "turns", "windows"},
        "adaptive, first window": {"logits", "samples", "turns", "windows"},
        "history": {"count"},
        "moving averages": {"turns"},
    }
    places = {name: "cpu" if name in counters[job] else accelerator.NAME for name in found["memory"]}
    assert found["memory"] == places
    assert len(set(places.values())) == 2


def test_the_first_failure_is_kept_on_the_device(results: dict[str, Any]) -> None:
    found = results["failing"]
    assert found["steps"] == []
    assert found["message"] == (
        "step 2: the discriminator's term 'adversarial' is nan; the first tensor that is not finite: "
        "discriminator's parameter 'logit.weight'"
    )


@pytest.mark.parametrize("what", ["read", "shape by value", "copy to the device"])
def test_waiting_in_a_loss_is_found(results: dict[str, Any], what: str) -> None:
    assert [what, "accelerator.py:loss"] in results["wrong"][what]["steps"]


def test_mixed_devices_in_a_loss_are_found(results: dict[str, Any]) -> None:
    error = results["wrong"]["mixed"]["error"]
    assert "mixes devices in accelerator.py:loss" in error


def test_unrolling_does_not_read_the_step_of_a_fused_optimizer(results: dict[str, Any]) -> None:
    cpu, device = results["unrolled"]["cpu"], results["unrolled"][accelerator.NAME]
    assert device["steps"] == []
    torch.testing.assert_close(torch.tensor(device["weight"]), torch.tensor(cpu["weight"]), rtol=1e-6, atol=0)
