"""Training is repeatable and resumes after any interruption, bit by bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import without_time

import sparring
from sparring.game.finite import FiniteChecks
from sparring.game.game import Game
from sparring.game.match import Batch, Moment
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.training.progress import Progress
from sparring.training.step import Stepper

# Everything with a state or a random choice: batch statistics, power iterations, noise, interpolation, Adam, EMA.
FIELDS = {
    "data": "digits",
    "generator": "DCGANGenerator(width=4)",
    "discriminator": "DCGANDiscriminator(width=4, spectral_norm=True)",
    "penalties": "GradientPenalty(every=3), R1(weight=1, every=2)",
    "augment": "InstanceNoise(sigma=Linear(0.2, 0))",
    "turns": "Alternating(n_critic=2)",
    "learning_rate": "Cosine(1, 0)",
    "ema": "EMA(half_life=500)",
    "batch_size": 16,
    "micro_batches": 2,
    "steps": 20,
    "log_every": 5,
    "pictures": 4,
    "checkpoint_every": 0.001,
    "seed": 3,
}


def options(**changes: object) -> list[str]:
    fields = {**FIELDS, **changes}
    return [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]


def final_hash(path: Path) -> str:
    manifest = checkpoint.manifests(path / "checkpoints")[-1]
    assert manifest.step == FIELDS["steps"]
    return manifest.sha256


def rows_without_time(path: Path) -> list[dict[str, object]]:
    return [without_time(row) for row in Run.open(path).rows()]


@pytest.fixture(scope="module", params=["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run"
    return sparring.train("digits", out=path, precision=request.param, **FIELDS)


def precision_of(path: Path) -> str:
    return Run.open(path).read_recipe().precision


@pytest.mark.slow
def test_same_seed_same_bits(whole: Path, tmp_path: Path) -> None:
    again = sparring.train("digits", out=tmp_path / "again", **{**FIELDS, "precision": precision_of(whole)})
    assert final_hash(again) == final_hash(whole)
    assert rows_without_time(again) == rows_without_time(whole)
    other = sparring.train("digits", out=tmp_path / "other", **{**FIELDS, "precision": precision_of(whole), "seed": 4})
    assert final_hash(other) != final_hash(whole)


KILLER = """
import os, signal, sys
calls = 0
fsync = os.fsync
def fatal(descriptor):  # kills the process at its n-th flush to the disk
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = fatal
from sparring.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("flush", [4, 5, 6, 7, 8])
def test_killed_while_writing_a_checkpoint(whole: Path, tmp_path: Path, flush: int) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLER, str(flush), "train", "digits", f"--out={run}"]
    command += options(precision=precision_of(whole))
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == -signal.SIGKILL
    assert list(run.rglob("*.part"))
    if not list((run / "checkpoints").glob("*.json")):
        with pytest.raises(sparring.UserError, match="no checkpoint"):
            sparring.resume(run)
        return
    sparring.resume(run)
    assert final_hash(run) == final_hash(whole)
    assert rows_without_time(run) == rows_without_time(whole)
    assert not list(run.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
def test_killed_while_training(whole: Path, tmp_path: Path, rows: int) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "sparring", "train", "digits", f"--out={run}"]
    process = subprocess.Popen([*command, *options(precision=precision_of(whole))], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    log = run / "log.jsonl"
    while not log.exists() or log.read_text().count("loss") < rows:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    with log.open("a") as file:
        file.write('{"step": 99')  # the torn row of a process killed within a write
    sparring.resume(run)
    assert final_hash(run) == final_hash(whole)
    assert rows_without_time(run) == rows_without_time(whole)


def test_interrupted_and_extended(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    show = Progress.show

    def interrupting(self: object, row: dict[str, int]) -> None:
        show(self, row)
        if row["step"] == 15:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("sparring.training.progress.Progress.show", interrupting)
    with pytest.raises(sparring.Interrupted, match=f"step 15.*sparring resume {run}"):
        sparring.train("digits", out=run, **{**FIELDS, "precision": precision_of(whole)})
    assert checkpoint.manifests(run / "checkpoints")[-1].step == 15
    sparring.resume(run)
    assert final_hash(run) == final_hash(whole)
    with pytest.raises(sparring.UserError, match="has reached its budget"):
        sparring.resume(run)
    sparring.resume(run, steps=25)
    assert checkpoint.manifests(run / "checkpoints")[-1].step == 25
    assert Run.open(run).read_recipe().steps == 25


def test_a_checkpoint_holds_no_time_and_loads_what_was_saved(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3), "b/c": torch.arange(4)}
    manifest = {"step": 1, "seconds": 2.0, "position": 3, "score": None}
    first = checkpoint.save(tmp_path, tensors, manifest, "")
    assert checkpoint.manifests(tmp_path) == [first]
    loaded = checkpoint.load(tmp_path, first)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


@pytest.mark.slow
def test_the_last_few_and_the_best_checkpoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([5.0, 1.0, *[3.0] * 100])
    monkeypatch.setattr("sparring.training.loop.score_samples", lambda *_: {"sliced_wasserstein": next(scores)})
    run = sparring.train("digits", out=tmp_path / "run", **{**FIELDS, "checkpoint_every": 1e-9, "keep": 2, "steps": 8})
    assert [m.step for m in checkpoint.manifests(run / "checkpoints")] == [2, 7, 8]
    assert len(list((run / "checkpoints").iterdir())) == 6
    assert sparring.load(run, checkpoint="best").step == 2
    assert sparring.load(run).step == 8


def test_nan_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    fields = {**FIELDS, "penalties": "", "generator_optimizer": "SGD(lr=1e30)", "steps": 20}
    with pytest.raises(sparring.NotFiniteError, match=r"step \d+: .*last good checkpoint is step \d+"):
        sparring.train("digits", out=tmp_path / "run", **fields)
    manifest = checkpoint.manifests(tmp_path / "run" / "checkpoints")[-1]
    tensors = checkpoint.load(tmp_path / "run" / "checkpoints", manifest)
    assert all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize("deferred", [False, True])
def test_nan_is_reported_with_its_step_before_anything_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferred: bool
) -> None:
    def spoiled(stepper: Stepper) -> list[Batch]:
        batches = next_batches(stepper)
        if stepper.state.step == 7:
            batches[0]["real"][0] = float("nan")
        return batches

    next_batches = Stepper.next_batches
    monkeypatch.setattr(Stepper, "next_batches", spoiled)
    monkeypatch.setattr(FiniteChecks, "deferred", lambda self, device: deferred)
    words = "step 7: the discriminator's term 'adversarial' is .*: 'real' of the batch"
    with pytest.raises(sparring.NotFiniteError, match=words):
        sparring.train("digits", out=tmp_path / "run", **{**FIELDS, "steps": 30, "checkpoint_every": 9, "pictures": 30})
    run = Run.open(tmp_path / "run")
    rows = run.history()
    assert [row["step"] for row in rows if "loss/generator" in row] == [5], "no row of a failed step"
    assert [m.step for m in checkpoint.manifests(run.checkpoints)] == [0]
    assert [path.stem for path in sorted(run.samples.iterdir())] == [f"step-{step:09d}" for step in range(8)]
    assert rows[-1]["event"] == "not finite"


def test_no_state_that_is_not_finite_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(game: Game, side: str, moment: Moment) -> None:
        if side == "generator":  # the last to be updated in a step
            next(game.generator.network.parameters()).data[0] = float("inf")

    monkeypatch.setattr(Game, "update", spoil)  # like an optimiser step that overflows
    with pytest.raises(sparring.NotFiniteError, match=r"generator/\S+' is not finite.*last good checkpoint is step 0"):
        sparring.train("digits", out=tmp_path / "run", **{**FIELDS, "ema": "", "steps": 1})


@pytest.mark.slow
def test_a_changed_environment_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sparring.train("digits", out=tmp_path / "run", **{**FIELDS, "steps": 4})
    path = run / "environment.json"
    path.write_text(path.read_text().replace(f'"torch": "{torch.__version__}"', '"torch": "1.0"'))
    sparring.resume(run, steps=8)
    assert f"torch was 1.0 and is {torch.__version__}" in capsys.readouterr().err


def test_other_data_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    table.write_text("".join(f"{i % 7},{i % 5}\n" for i in range(100)))
    fields = {"data": str(table), "steps": 4, "batch_size": 8, "penalties": ""}
    networks = {"generator": "MLPGenerator(hidden=(8,))", "discriminator": "MLPDiscriminator(hidden=(8,))"}
    run = sparring.train("digits", out=tmp_path / "run", **fields, **networks)
    table.write_text("1,2\n3,4\n")
    with pytest.raises(sparring.UserError, match="is not what .* was trained on"):
        sparring.resume(run, steps=8)
