"""Metrics against other implementations, closed forms and limits."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch

from sparring.data.load import load_data
from sparring.metrics import count_modes, frechet, precision_recall, sliced_wasserstein


def test_frechet_known_value() -> None:
    rng = np.random.RandomState(0)
    x, y = (rng.randn(512, 256).astype(np.float32) for _ in range(2))
    assert frechet(x, y) == pytest.approx(65.74272, rel=1e-5)


def test_frechet_of_a_shift_and_a_scale() -> None:
    x = np.random.RandomState(0).randn(500, 3)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x + np.array([3, 0, 4])) == pytest.approx(25)
    # scaling by a: |m|^2 (a - 1)^2 + tr(C) (a - 1)^2
    expected = 4 * (np.square(x.mean(0)).sum() + np.trace(np.cov(x, rowvar=False)))
    assert frechet(x, 3 * x) == pytest.approx(expected)
    assert frechet(3 * x, x) == pytest.approx(expected)


def test_sliced_wasserstein_agrees_with_pot() -> None:
    rng = np.random.RandomState(0)
    x, y = rng.randn(300, 2), rng.randn(300, 2) * 2 + 1
    directions = torch.randn(2, 64, generator=torch.Generator().manual_seed(5))
    directions = (directions / directions.norm(dim=0)).numpy()
    theirs = ot.sliced_wasserstein_distance(x, y, projections=directions, p=2)
    ours = sliced_wasserstein(torch.tensor(x), torch.tensor(y), directions=64, seed=5)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert sliced_wasserstein(torch.tensor(x), torch.tensor(x)) == 0


def test_sliced_wasserstein_of_a_shift() -> None:
    x = torch.randn(200, 1, 4, 4)
    # the mean square of a unit direction's part of a shift in d axes is |shift|^2 / d
    assert sliced_wasserstein(x, x + 0.5, directions=4000) == pytest.approx(0.5, rel=0.05)


def test_precision_and_recall_know_their_sides() -> None:
    rng = torch.Generator().manual_seed(0)
    real = torch.cat([torch.randn(300, 2, generator=rng), torch.randn(300, 2, generator=rng) + 50])
    half = torch.randn(600, 2, generator=rng)
    precision, recall = precision_recall(real, half)
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.05)
    assert precision_recall(half, real) == pytest.approx((recall, precision))


def test_precision_and_recall_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = torch.randn(100, 3), torch.randn(90, 3) * 1.2
    whole = precision_recall(real, fake)
    monkeypatch.setattr("sparring.metrics.distribution.MAX_PAIRS", 700)
    assert precision_recall(real, fake) == whole


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_a_perfect_sampler_covers_all_modes(name: str) -> None:
    data = load_data(name)
    assert data.mixture is not None
    count = count_modes(data.samples, data.mixture.centres, data.mixture.deviation)
    assert count.covered == count.total == len(data.mixture.centres)
    assert count.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.002)


def test_missing_modes_and_bad_samples_are_counted() -> None:
    data = load_data("ring")
    assert data.mixture is not None
    assert data.labels is not None
    some = data.samples[data.labels < 5]
    count = count_modes(torch.cat([some, some * 0.5]), data.mixture.centres, data.mixture.deviation)
    assert count.covered == 5
    assert count.high_quality == pytest.approx(0.5 * (1 - math.exp(-4.5)), abs=0.003)
