"""The statistics of a probe, against closed forms and known samples; and that probes have no side effects."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from scipy import stats

import sparring
from sparring.assemble.start import start_state
from sparring.data.load import load_data
from sparring.doctor.diagnosis.signs import rank_correlation
from sparring.doctor.probing import statistics
from sparring.doctor.probing.prober import FEWEST, Prober, fits
from sparring.doctor.probing.reference import RealReference, discriminator_metrics
from sparring.game.losses import Hinge, LeastSquares, Loss, Minimax, NonSaturating, RelativisticPairing, Wasserstein
from sparring.game.match import Moment
from sparring.metrics.neighbours import nearest, reference_distances
from sparring.metrics.ranking import ranking, ranking_error
from sparring.recipe import load_recipe
from sparring.run.checkpoint import manifests
from sparring.run.directory import Run


def test_auc_is_the_mann_whitney_statistic() -> None:
    generator = torch.Generator().manual_seed(0)
    above = torch.randint(0, 9, (40,), generator=generator).float()
    below = torch.randint(0, 7, (60,), generator=generator).float()
    expected = stats.mannwhitneyu(above, below).statistic / (40 * 60)  # ties count half
    assert ranking(above, below) == pytest.approx(expected, rel=1e-12)
    assert ranking(below, above) == pytest.approx(1 - expected, rel=1e-12)
    assert ranking(torch.ones(3), torch.zeros(5)) == 1


@pytest.mark.slow
def test_the_error_of_the_auc_is_the_deviation_for_equal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [ranking(*torch.randn(2, 50, generator=generator)) for _ in range(2000)]
    # the standard deviation of 2,000 draws has an error of 1.6 %
    assert torch.tensor(found).std().item() == pytest.approx(ranking_error(50, 50), rel=0.06)


def test_effective_rank() -> None:
    axes = torch.cat([torch.eye(5), -torch.eye(5)])
    assert statistics.effective_rank(axes) == pytest.approx(5)
    assert statistics.effective_rank(torch.arange(6.0)[:, None] * torch.ones(1, 9)) == pytest.approx(1)
    assert statistics.effective_rank(torch.ones(6, 9)) == 1  # all equal
    wide = torch.cat([torch.eye(3, 40), -torch.eye(3, 40)])
    assert statistics.effective_rank(wide) == pytest.approx(3)


def test_spread_and_neighbours() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert statistics.spread(points) == pytest.approx((5 + 1 + math.sqrt(18)) / 3)
    assert nearest(points, torch.tensor([[0.0, 0.0]]))[0].tolist() == pytest.approx([0, 5, 1])
    assert sorted(reference_distances(points).tolist()) == pytest.approx([1, 1, math.sqrt(18)])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (NonSaturating(), (0.5, 1 / (1 + math.exp(-9)))),
        (Minimax(), (0.5, 1 / (1 + math.exp(9)))),
        (Wasserstein(), (1, 1)),
        (Hinge(), (1, 1)),
        (LeastSquares(), (1, 10)),
        (RelativisticPairing(), (0.5, 1 / (1 + math.exp(-18)))),
    ],
)
def test_the_signal_is_the_slope_of_the_generators_loss(loss: Loss, expected: tuple[float, float]) -> None:
    undecided, lost = torch.zeros(4), torch.full((4,), 9.0)
    assert statistics.signal(loss, undecided, undecided) == pytest.approx(expected[0])
    assert statistics.signal(loss, lost, -lost) == pytest.approx(expected[1], rel=1e-6)


def test_a_fresh_critic_separates_what_is_separable() -> None:
    generator = torch.Generator().manual_seed(0)
    real, same = torch.randn(2, 256, 6, generator=generator)
    critic = statistics.FreshCritic(real)
    assert critic.auc(real, same) == pytest.approx(0.5, abs=4 * ranking_error(128, 128))
    assert critic.auc(real, same + 3) > 0.99
    angle = torch.rand(256, generator=generator) * 2 * math.pi  # a ring around the reals, with the same mean
    around = 6 * torch.stack([angle.cos(), angle.sin()], 1)
    assert statistics.FreshCritic(real[:, :2]).auc(real[:, :2], around) > 0.99


@pytest.fixture(scope="module")
def ring() -> tuple[RealReference, torch.Tensor]:
    data = load_data("ring")
    points = data.form.to_input(data.samples)[torch.randperm(len(data), generator=torch.Generator().manual_seed(0))]
    return RealReference(points[:256], points[:2048], points[2048:2304], unseen=True), points[2304:2560]


def test_other_real_samples_have_ratios_of_one(ring: tuple[RealReference, torch.Tensor]) -> None:
    reference, others = ring
    found = reference.measure(others)
    for name in ("spread", "effective_rank", "mode_coverage", "distance/reals", "distance/fakes", "copies"):
        assert found[name] == pytest.approx(1, abs=0.2), name
    assert found["fresh_critic_auc"] == pytest.approx(0.5, abs=4 * ranking_error(128, 128))


def test_a_collapse_is_measured(ring: tuple[RealReference, torch.Tensor]) -> None:
    reference, others = ring
    one = others[:1] + 0.01 * others
    found = reference.measure(one)
    assert found["spread"] < 0.02
    assert found["mode_coverage"] < 0.15
    assert found["distance/reals"] > 10
    centres = reference.known[(reference.known[:, 0] > 0)]  # half of the modes
    assert reference.measure(centres[:256])["mode_coverage"] < 0.7


def test_copies_and_movement_are_measured(ring: tuple[RealReference, torch.Tensor]) -> None:
    reference, others = ring
    assert reference.measure(reference.known[300:556])["copies"] == 0
    reference.measure(others)
    assert reference.measure(others)["movement"] == 0
    moved = reference.measure(others + torch.tensor([3.0, 4.0]))["movement"]
    assert moved == pytest.approx(5 / statistics.spread(others), rel=1e-5)


def test_memorised_training_samples_are_measured() -> None:
    real, fake = torch.linspace(1, 2, 100), torch.linspace(-2, -1, 100)
    fair = discriminator_metrics(NonSaturating(), real, fake, real.flip(0))
    assert (fair["auc/train"], fair["auc/held_out"], fair["auc/memory"]) == (1, 1, 0.5)
    assert fair["overfitting"] == pytest.approx(0, abs=1e-6)
    memorised = discriminator_metrics(NonSaturating(), real, fake, fake)  # unseen reals pass for fakes
    assert (memorised["auc/held_out"], memorised["auc/memory"]) == (0.5, 1)
    assert memorised["overfitting"] == pytest.approx(1)
    assert memorised["auc/memory deviations"] > 10


def test_flat_features_of_images_are_small() -> None:
    assert statistics.flat_features(torch.zeros(3, 1, 8, 8)).shape == (3, 64)
    assert statistics.flat_features(torch.zeros(3, 3, 20, 40)).shape == (3, 3 * 16 * 16)
    assert statistics.flat_features(torch.zeros(3, 2)).shape == (3, 2)


def test_rank_correlation_is_spearmans() -> None:
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
    assert rank_correlation(values) == pytest.approx(stats.spearmanr(range(8), values).statistic)
    assert rank_correlation([2.0, 2.0, 2.0]) == 0


OPTIONS = {
    "generator": "DCGANGenerator(width=8)",  # with batch statistics
    "discriminator": "DCGANDiscriminator(width=8, spectral_norm=True)",  # with power iteration
    "precision": "fp32",
    "device": TINY["device"],
    "steps": 12,
    "pictures": 1,
    "log_every": 4,
}


def test_probes_change_no_bit(tmp_path: Path) -> None:
    hashes = []
    for doctor in ("watch", "off"):
        run = Run.open(sparring.train("digits", out=tmp_path / doctor, doctor=doctor, **OPTIONS))
        hashes.append(manifests(run.checkpoints)[-1].sha256)
        probes = [row for row in run.entries() if row.get("event") == "probe"]
        assert bool(probes) == (doctor == "watch")
        for row in probes:
            assert all(math.isfinite(v) for v in row.values() if isinstance(v, float)), row
            json.dumps(row)
    assert hashes[0] == hashes[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "TopK(loss=Hinge())"},
        {"task": "Generate(latent=Normal(8), pack=2)"},
        {"task": "Generate(latent=Normal(8), codes=(Categorical(10),))", "penalties": "MutualInformation()"},
        {"data": "ring", "generator": "MLPGenerator()", "discriminator": "MLPDiscriminator()"},
        {"loss": "RelativisticPairing()", "micro_batches": 4, "held_out": 0.1},
    ],
)
def test_all_kinds_of_games_can_be_probed(changes: dict[str, object], tmp_path: Path) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **{**OPTIONS, "doctor": "watch", **changes}))
    last = [row for row in run.entries() if row.get("event") == "probe"][-1]
    assert last["finite"] == 1
    assert all(math.isfinite(v) for v in last.values() if isinstance(v, float)), last


def test_a_probe_reports_nan() -> None:
    data = load_data("digits")
    state = start_state(load_recipe("digits").replace(augment=""), data, torch.device("cpu"))
    for parameter in state.game.generator.network.parameters():
        parameter.fill_(math.nan)
    found = Prober(state.game, data, None, 0, 64).probe(Moment())
    assert set(found) == {"finite", "cost"}
    assert found["finite"] == 0


def test_held_out_samples_that_do_not_fit_are_left_out() -> None:
    data = load_data("digits")
    assert fits(data, data)
    assert not fits(dataclasses.replace(data, labels=None), data)
    assert not fits(data.part(torch.arange(FEWEST - 1)), data)
    assert not fits(load_data("ring"), data)


def test_a_run_with_few_samples_is_not_watched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "few.npy", np.zeros((20, 8, 8), np.uint8))
    options = {**OPTIONS, "data": str(tmp_path / "few.npy"), "doctor": "watch", "batch_size": 8}
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **options))
    assert not [row for row in run.entries() if row.get("event") == "probe"]
    assert "the doctor does not watch" in capfd.readouterr().err


@pytest.mark.slow
def test_the_effect_of_classes_is_measured(tmp_path: Path) -> None:
    options = {**OPTIONS, "doctor": "watch", "task": "Generate(latent=Normal(8), classes=True)"}
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **options))
    last = [row for row in run.entries() if row.get("event") == "probe"][-1]
    assert last["effect/latent"] > 0
    assert last["effect/class"] > 0
    assert "effect/critic" in last
