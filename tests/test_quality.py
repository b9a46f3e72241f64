"""Quality of whole trainings of small recipes, with fixed seeds and stated margins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sparring
from sparring.data.load import load_data
from sparring.metrics import ModeCount, count_modes

SAMPLES = 5000
HIGH_QUALITY = 0.85  # required of the ring


def count(run: Path) -> ModeCount:
    data = load_data("ring")
    assert data.mixture is not None
    samples = sparring.load(run).sample(SAMPLES, seed=1)
    return count_modes(samples, data.mixture.centres, data.mixture.deviation)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_ring_is_covered(tmp_path: Path) -> None:
    found = count(sparring.train("ring", out=tmp_path / "ring", steps=5000))
    assert found.covered == 8
    assert found.high_quality >= HIGH_QUALITY  # this seed reached 0.91, and 0.95 after all 8,000 steps


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_plain_minimax_does_not_cover_the_ring(tmp_path: Path) -> None:
    changes = {"loss": "Minimax()", "penalties": "", "ema": "", "learning_rate": "Constant(1)", "doctor": "off"}
    plain = {**changes, "steps": 3000}
    found = [count(sparring.train("ring", out=tmp_path / str(seed), seed=seed, **plain)) for seed in range(2)]
    # Such runs do not converge and differ between processors: one of these seeds ended at 4 and at 8.
    assert sum(each.covered for each in found) < 2 * 8  # observed: 6, 8
    assert sum(each.high_quality for each in found) / 2 < HIGH_QUALITY - 0.1  # observed: 0.49; `ring` had 0.81 then


@pytest.mark.slow
def test_the_default_recipe_learns_all_ten_digits(tmp_path: Path) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    data = load_data("digits")
    assert data.labels is not None
    samples = sparring.load(sparring.train(out=tmp_path / "digits", steps=3000)).sample_stored(1000)
    pixels = data.samples.flatten(1).float().numpy()
    nearest = KNeighborsClassifier(n_neighbors=1).fit(pixels, data.labels.numpy())
    generated = samples.flatten(1).float().numpy()
    counts = torch.bincount(torch.tensor(nearest.predict(generated)), minlength=10)
    assert counts.min() >= 30  # a perfect sampler gives about 100 each
    # at most 1.5 times as far from the data as the data from itself; noise is five times as far
    distance = torch.cdist(samples.flatten(1).float(), data.samples.flatten(1).float()).min(1).values.median()
    itself = torch.cdist(*[data.samples.flatten(1).float()] * 2).kthvalue(2).values.median()
    assert distance < 1.5 * itself
