"""The files of a run, and the progress line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import sparring
from sparring.assemble.sampling import draw_samples
from sparring.data.form import Form
from sparring.data.load import load_data
from sparring.game.inputs import Normal
from sparring.game.losses import Hinge, LeastSquares, Minimax, RelativisticPairing, Wasserstein
from sparring.recipe import Recipe
from sparring.run.directory import Run
from sparring.tasks import Generate
from sparring.training.progress import Progress
from sparring.training.step_metrics import accuracy

TINY = {
    "generator": "MLPGenerator(hidden=(16,))",
    "discriminator": "MLPDiscriminator(hidden=(16,))",
    "penalties": "R1(weight=1, every=2)",
    "steps": 30,
    "batch_size": 16,
    "log_every": 10,
    "pictures": 3,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sparring.train("digits", out=tmp_path_factory.mktemp("runs") / "tiny", **TINY)


def test_the_log(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    metrics = [row for row in rows if "event" not in row]
    assert [row["step"] for row in metrics] == [10, 20, 30]
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(rows, rows[1:]))
    expected = {"loss/discriminator", "loss/generator", "accuracy", "logit/real", "logit/fake", "gradient/generator"}
    assert all(expected <= set(row) for row in metrics)
    assert rows[-1]["event"] == "checkpoint"
    assert rows[-1]["sliced_wasserstein"] > 0


def test_a_penalty_is_logged_as_a_separate_term(tmp_path: Path) -> None:
    path = sparring.train("digits", out=tmp_path / "run", **{**TINY, "penalties": "R1(weight=1)"})
    row = Run.open(path).rows()[-1]
    assert row["term/discriminator/adversarial/R1"] > 0


def test_the_pictures(run: Path) -> None:
    names = sorted(p.name for p in (run / "samples").iterdir())
    assert names == [f"step-{step:09d}.png" for step in (0, 10, 20, 30)]
    first, last = (Image.open(run / "samples" / name) for name in (names[0], names[-1]))
    assert first.size == last.size
    assert min(first.size) > 500
    assert first.tobytes() != last.tobytes()


def test_the_summary_shows_the_plots(run: Path) -> None:
    text = (run / "summary.md").read_text()
    assert "](curves.png)" in text
    assert "](samples/step-000000030.png)" in text
    assert "30 steps" in text
    with Image.open(run / "curves.png") as curves:
        assert curves.size > (500, 500)


@pytest.mark.slow
def test_the_summary_has_a_doctor_section_only_with_the_doctor_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for doctor in ("watch", "off"):
        path = sparring.train("digits", out=tmp_path / doctor, doctor=doctor, **TINY)
        assert ("## The doctor" in (path / "summary.md").read_text()) == (doctor == "watch")
        assert ("| doctor: too-early" in capfd.readouterr().err) == (doctor == "watch")


def test_a_diverged_run_with_a_custom_optimiser_has_a_summary(tmp_path: Path) -> None:
    own = {**TINY, "discriminator_optimizer": "sparring.game.optimizers.SGD(lr=1e30)", "log_every": 1}
    with pytest.raises(sparring.NotFiniteError):
        sparring.train("digits", out=tmp_path / "run", trust=True, **own)
    text = (tmp_path / "run" / "summary.md").read_text()
    assert "divergence" in text
    assert "stable baseline" in text


def test_the_environment_is_saved(run: Path) -> None:
    environment = json.loads((run / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert Run.open(run).read_recipe().precision in ("fp32", "bf16")


def test_nothing_is_pickled(run: Path) -> None:
    assert {p.suffix for p in (run / "checkpoints").iterdir()} == {".json", ".safetensors"}


def test_a_seed_gives_the_same_samples_at_any_count(run: Path) -> None:
    generator = sparring.load(run)
    few, many = generator.sample(5, seed=7), generator.sample(300, seed=7)
    assert few.shape == (5, 1, 8, 8)
    assert few.dtype == torch.float32
    assert few.abs().max() <= 1
    torch.testing.assert_close(few, many[:5])
    assert not torch.equal(few, generator.sample(5, seed=8))


class Counting(nn.Module):
    """A generator of constant images with the sum of the latent as value; it records its batch sizes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.rows = shape, list[int]()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(latent))
        return (self.weight * latent.sum(1)).view(-1, 1, 1, 1).expand(-1, *self.shape)


@pytest.mark.parametrize(
    ("shape", "count", "rows"),
    [((1, 8, 8), 1, [1]), ((1, 8, 8), 300, [256, 44]), ((3, 256, 256), 17, [8, 8, 1]), ((1, 1024, 1024), 2, [1, 1])],
    ids=str,
)
def test_the_network_generates_exactly_the_requested_samples(
    shape: tuple[int, ...], count: int, rows: list[int]
) -> None:
    network, task = Counting(shape), Generate(latent=Normal(3))
    made = draw_samples(task.for_data(Form(shape)), network, count, seed=7)
    assert network.rows == rows
    small = draw_samples(task.for_data(Form((1, 8, 8))), Counting((1, 8, 8)), 300, seed=7)
    torch.testing.assert_close(made[:, 0, 0, 0], small[:count, 0, 0, 0], msg="a seed means the same samples")


def test_rows_of_abandoned_steps_are_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for row in ({"step": 10}, {"step": 20, "old": 1}, {"step": 30}, {"step": 15, "event": "resumed"}, {"step": 20}):
        run.append(row)
    assert run.rows() == [{"step": 10}, {"step": 20}]


def test_incomplete_files_of_a_killed_process_are_removed(run: Path, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run, tmp_path / "copy")))
    kept = {p.name for p in copy.path.rglob("*") if "step-000000030.png" not in p.name}
    orphan = copy.checkpoints / "step-000000025.safetensors"
    for path in (orphan, copy.checkpoints / "step-000000025.json.part", copy.path / "summary.md.part"):
        path.write_text("half")
    copy.clean_up(step=20)
    assert {p.name for p in copy.path.rglob("*")} == kept


def test_the_progress_line() -> None:
    progress = Progress(Recipe(batch_size=100), Path("run"), (1.386, 0.693), load_data("ring"), step=50, seconds=10.0)
    row = {"step": 100, "seconds": 20.0, "progress": 0.25, "accuracy": 0.625}
    row |= {"loss/discriminator": 1.25, "loss/generator": 0.75}
    text = progress.describe(row)
    assert text == "step 100 | 500 images/s | 1:00 left | D loss 1.25 (1.39) | G loss 0.75 (0.69) | D accuracy 62%"
    later = {"step": 200, "seconds": 30.0, "progress": 0.5, "overhead/evaluation": 40.0, "overhead/doctor": 20.0}
    assert progress.describe(later) == "step 200 | 1,000 images/s | 1:30 left"  # of wall time; images by training time


@pytest.mark.parametrize("loss", [Minimax(), Hinge(), RelativisticPairing(), Wasserstein()], ids=repr)
def test_accuracy(loss: sparring.game.losses.Loss) -> None:
    high, low = torch.tensor([2.0, 3.0]), torch.tensor([-1.0, -2.0])
    assert accuracy(loss, high, low) == 1
    assert accuracy(loss, low, high) == 0
    assert accuracy(loss, torch.tensor([2.0, -2.0]), torch.tensor([2.0, -2.0])) == 0.5


def test_accuracy_is_counted_from_the_undecided_logit() -> None:
    assert accuracy(LeastSquares(), torch.tensor([0.6, 0.9]), torch.tensor([0.4, 0.1])) == 1
