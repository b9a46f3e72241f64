"""Does it learn? Whole trainings of small recipes, with fixed seeds and stated margins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sparring
from sparring.data import load_data
from sparring.metrics import ModeCount, count_modes

SAMPLES = 5000


def count(run: Path) -> ModeCount:
    data = load_data("ring")
    assert data.mixture is not None
    samples = sparring.load(run).sample(SAMPLES, seed=1)
    return count_modes(samples, data.mixture.centres, data.mixture.deviation)


@pytest.mark.slow
def test_the_ring_is_covered_and_plain_minimax_does_worse(tmp_path: Path) -> None:
    # the bar is 90 % of high quality; this seed was seen to give 95 %, and plain minimax 4 modes and 38 %
    good = count(sparring.train("ring", out=tmp_path / "ring"))
    assert good.covered == 8
    assert good.high_quality >= 0.9
    plain = {"loss": "Minimax()", "penalties": "", "ema": "", "learning_rate": "Constant(1)"}
    worse = count(sparring.train("ring", out=tmp_path / "plain", **plain))
    assert (worse.covered, worse.high_quality) < (8, good.high_quality - 0.1)


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
    # as close to the data as the data to itself, within a half; noise is five times as far
    distance = torch.cdist(samples.flatten(1).float(), data.samples.flatten(1).float()).min(1).values.median()
    itself = torch.cdist(*[data.samples.flatten(1).float()] * 2).kthvalue(2).values.median()
    assert distance < 1.5 * itself
