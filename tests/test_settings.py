"""Calls restore torch's settings, also after an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY

import sparring
from sparring.base.device import prepared


def settings() -> dict[str, object]:
    """All process-wide settings of torch."""
    return {
        "flushes denormals": torch.tensor([2.0**-130]).mul(1).item() == 0,
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "benchmark": torch.backends.cudnn.benchmark,
        "cudnn tf32": torch.backends.cudnn.allow_tf32,
        "cuda tf32": torch.backends.cuda.matmul.allow_tf32,
        "grad": torch.is_grad_enabled(),
        "random": torch.get_rng_state().tolist(),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


@pytest.fixture(autouse=True)
def without_flushing() -> None:
    torch.set_flush_denormal(False)


def train(folder: Path, run: Path) -> None:
    sparring.train("digits", out=folder / "new", **{**TINY, "steps": 2, "evaluate_every": 2, "extractor": "Random()"})


def train_with_more_threads(folder: Path, run: Path) -> None:
    sparring.train("digits", out=folder / "new", **{**TINY, "steps": 2, "threads": 2})


def resume(folder: Path, run: Path) -> None:
    sparring.resume(run, steps=21)


def evaluate(folder: Path, run: Path) -> None:
    sparring.evaluate(run, metrics="frechet,duality_gap", extractor="Random()", count=50)


def evaluate_images(folder: Path, run: Path) -> None:
    np.save(folder / "made.npy", np.random.default_rng(0).integers(0, 255, (30, 8, 8)).astype(np.uint8))
    sparring.evaluate_images(folder / "made.npy", against="digits", metrics="frechet", extractor="Random()")


def load(folder: Path, run: Path) -> None:
    sparring.load(run).sample(4)


@pytest.mark.parametrize("call", [train, train_with_more_threads, resume, evaluate, evaluate_images, load])
def test_calls_restore_settings(call: Callable[[Path, Path], None], run_copy: Path, tmp_path: Path) -> None:
    before = settings()
    call(tmp_path, run_copy)
    assert settings() == before


def test_errors_restore_settings(run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings()
    with pytest.raises(sparring.UserError, match="needs points"):
        sparring.evaluate(run_copy, metrics="wasserstein", extractor="Random()")
    assert settings() == before

    def fail(*_: Any) -> None:
        raise RuntimeError("within a step")

    monkeypatch.setattr("sparring.training.step.Stepper.__call__", fail)
    with pytest.raises(RuntimeError, match="within a step"):
        train_with_more_threads(tmp_path, run_copy)
    assert settings() == before


def test_settings_within_a_run() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with prepared(torch.device("cuda")):
            assert settings() == {**settings(), "flushes denormals": True, "warn only": True, "cudnn tf32": False}
            with prepared(torch.device("cpu")):
                pass
            assert settings()["flushes denormals"], "nested contexts"
        assert settings() == {**settings(), "flushes denormals": False, "warn only": False, "deterministic": True}
    finally:
        torch.use_deterministic_algorithms(False)
