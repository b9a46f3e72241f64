"""Runs of earlier versions. `tests/runs/before-packages` was trained to step 20 of 40 by one without packages. The
expected numbers are that version's results.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

import sparring
from sparring.assemble.state import find_checkpoint
from sparring.cli import main
from sparring.run import Run
from sparring.run.changes import changes_since

OLD = Path(__file__).parent / "runs" / "before-packages"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def test_it_is_sampled_as_before(old: Path) -> None:
    assert sparring.load(old).sample(2, seed=3).double().sum().item() == pytest.approx(6.4385888244, rel=1e-3)


def test_it_is_resumed_as_before(old: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(old)]) == 0
    tensors = load_file(old / "checkpoints" / "step-000000040.safetensors")
    generator = sum(t.double().abs().sum().item() for name, t in tensors.items() if name.startswith("generator/"))
    assert generator == pytest.approx(233.3707504146, rel=1e-3)
    rows = Run.open(old).rows()
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert [row.get("overhead/evaluation") for row in rows] == [
        None,
        None,
        0.0,
        0.0,
    ]  # overheads are logged from now on
    assert rows[2]["seconds"] >= 1.054  # the old run's time, overheads included


def test_it_has_no_overheads_yet(old: Path) -> None:
    clock = find_checkpoint(Run.open(old)).clock
    assert clock.overheads == {"evaluation": 0.0, "doctor": 0.0, "pictures": 0.0, "checkpoints": 0.0, "threads": 0.0}
    assert clock.wall_seconds == clock.seconds == 1.054268690000299


def test_it_is_diagnosed(old: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(old), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["findings"][0]["failure"] == "too-early"


def test_its_scores_are_unchanged_under_the_same_protocol(old: Path) -> None:
    before = Run.open(old).scores()[0]
    scores = sparring.evaluate(old, metrics="sliced_wasserstein", count=64, extractor="Pixels()")
    assert scores.to_json()["protocol"]["data_digest"] == before["protocol"]["data_digest"]
    assert scores.values["sliced_wasserstein"] == pytest.approx(before["values"]["sliced_wasserstein"], rel=1e-3)


def test_changed_behaviour_is_reported(old: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert Run.open(old).changes() == []
    timed = (old / "recipe.toml").read_text().replace("minutes = 0.0", "minutes = 0.5")
    assert [line.split(" (")[0] for line in changes_since("0.1.0", timed)] == [
        "budgets in minutes count training alone"
    ]
    text = (old / "recipe.toml").read_text()
    (old / "recipe.toml").write_text(f"{text}\n# R3GANGenerator(width=8), Cycle(identity=0)\n")
    said = Run.open(old).changes()
    assert [line.split()[0] for line in said] == ["R3GAN's", "the"]
    sparring.resume(old)
    assert f"since this run began, {said[0]}" in capfd.readouterr().err
    environment = json.loads((old / "environment.json").read_text())
    (old / "environment.json").write_text(json.dumps({**environment, "sparring": sparring.__version__}))
    assert Run.open(old).changes() == []
