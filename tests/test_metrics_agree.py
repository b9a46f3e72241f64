"""Metrics on random inputs against other implementations: scipy, scikit-learn, torchmetrics and POT, relative 1e-4."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from scipy import linalg, spatial
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.neighbors import NearestNeighbors
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.segmentation import mean_iou as their_mean_iou
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from sparring import metrics
from sparring.base.errors import UserError

REL = 1e-4


def two_sets(n: int = 400, m: int = 300, d: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=rng)
    return torch.randn(n, d, generator=rng), 0.7 * torch.randn(m, d, generator=rng) @ mix * 0.4 + 0.3


class Flat(torch.nn.Module):
    """torchmetrics takes any network of images; this one returns the features unchanged."""

    num_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double()


def as_images(features: torch.Tensor) -> torch.Tensor:
    return features.double().view(len(features), 3, 2, 2)


def test_frechet_agrees_with_scipy_and_torchmetrics() -> None:
    x, y = two_sets()
    a, b = x.double().numpy(), y.double().numpy()
    root = linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    traces = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False)) - 2 * np.trace(root)
    assert metrics.frechet(x, y) == pytest.approx(np.square(a.mean(0) - b.mean(0)).sum() + traces, rel=REL)
    theirs = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    theirs.update(as_images(x), real=True)
    theirs.update(as_images(y), real=False)
    assert metrics.frechet(x, y) == pytest.approx(theirs.compute().item(), rel=REL)


def test_kernel_distance_agrees_with_scikit_learn_and_torchmetrics() -> None:
    x, y = two_sets(300, 300)

    def unbiased(a: np.ndarray, b: np.ndarray) -> float:
        xx, yy, xy = (polynomial_kernel(u, v, 3, 1 / a.shape[1], 1) for u, v in ((a, a), (b, b), (a, b)))
        n, m = len(a), len(b)
        return (xx.sum() - np.trace(xx)) / n / (n - 1) + (yy.sum() - np.trace(yy)) / m / (m - 1) - 2 * xy.mean()

    ours = metrics.kernel_distance(x, y)
    assert ours.value == pytest.approx(unbiased(x.double().numpy(), y.double().numpy()), rel=REL)
    theirs = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=300, normalize=True).set_dtype(
        torch.float64
    )
    theirs.update(as_images(x), real=True)
    theirs.update(as_images(y), real=False)
    assert ours.value == pytest.approx(theirs.compute()[0].item(), rel=REL)


def test_mmd_agrees_with_scikit_learn() -> None:
    x, y = two_sets()
    a, b = x.double().numpy(), y.double().numpy()
    for bandwidth in (0.0, 2.5):
        square = bandwidth**2 or a.var(0, ddof=1).sum()
        xx, yy, xy = (rbf_kernel(u, v, 1 / (2 * square)) for u, v in ((a, a), (b, b), (a, b)))
        n, m = len(a), len(b)
        expected = (xx.sum() - n) / n / (n - 1) + (yy.sum() - m) / m / (m - 1) - 2 * xy.mean()
        assert metrics.mmd(x, y, bandwidth).value == pytest.approx(expected, rel=REL)
    xx, yy, xy = (rbf_kernel(u, v, 1 / 200).mean() for u, v in ((a, a), (b, b), (a, b)))
    assert metrics.cmmd(x, y) == pytest.approx(1000 * (xx + yy - 2 * xy), rel=REL)


def test_inception_score_agrees_with_torchmetrics() -> None:
    logits = torch.randn(500, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 3
    theirs = InceptionScore(feature=Flat(), splits=1).set_dtype(torch.float64)
    theirs.update(logits.double())
    assert metrics.inception_score(logits.flatten(1)).value == pytest.approx(theirs.compute()[0].item(), rel=REL)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbour_metrics_agree_with_scikit_learn(k: int) -> None:
    real, fake = two_sets()

    def reach(points: torch.Tensor) -> np.ndarray:
        return NearestNeighbors(n_neighbors=k + 1).fit(points.numpy()).kneighbors(points.numpy())[0][:, -1]

    between = spatial.distance.cdist(fake.numpy(), real.numpy())
    precision = (between <= reach(real)[None]).any(1).mean()
    recall = (between <= reach(fake)[:, None]).any(0).mean()
    assert metrics.precision_recall(real, fake, k=k) == pytest.approx((precision, recall), rel=REL)
    density = (between <= reach(real)[None]).sum() / (k * len(fake))
    coverage = (between.min(0) <= reach(real)).mean()
    assert metrics.density_coverage(real, fake, k=k) == pytest.approx((density, coverage), rel=REL)


def test_nearest_agrees_with_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = two_sets()
    distance, index = NearestNeighbors(n_neighbors=1).fit(x.numpy()).kneighbors(y.numpy())
    ours = metrics.nearest(y, x)
    np.testing.assert_allclose(ours[0].numpy(), distance[:, 0], rtol=REL)
    np.testing.assert_array_equal(ours[1].numpy(), index[:, 0])
    distance, index = NearestNeighbors(n_neighbors=2).fit(x.numpy()).kneighbors(x.numpy())
    monkeypatch.setattr("sparring.metrics.distribution.MAX_PAIRS", 64 * len(x))
    ours = metrics.nearest(x, x, without=torch.arange(len(x)))
    np.testing.assert_allclose(ours[0].numpy(), distance[:, 1], rtol=REL)
    np.testing.assert_array_equal(ours[1].numpy(), index[:, 1])


def test_wasserstein_agrees_with_pot_and_with_sorting() -> None:
    x, y = two_sets(120, 90, 2)
    weights = [np.full(len(s), 1 / len(s)) for s in (x, y)]
    cost = spatial.distance.cdist(x.numpy(), y.numpy(), "sqeuclidean")
    assert metrics.wasserstein(x, y) == pytest.approx(np.sqrt(ot.emd2(*weights, cost)), rel=1e-9)
    same = metrics.wasserstein(x[:90], y)
    assert same == pytest.approx(np.sqrt(ot.emd2(weights[1], weights[1], cost[:90].copy())), rel=1e-9)
    with pytest.raises(UserError, match="wasserstein of 101 and 90 samples takes too long; take 90 of each"):
        metrics.wasserstein(x[:101], y)
    line_x, line_y = (
        torch.randn(100, 1),
        torch.randn(100, 1) + 1,
    )  # on a line, the optimal transport pairs sorted samples
    sorted_cost = (line_x.sort(0).values - line_y.sort(0).values).square().mean().sqrt().item()
    assert metrics.wasserstein(line_x, line_y) == pytest.approx(sorted_cost, rel=REL)


def test_paired_metrics_agree_with_torchmetrics() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(5, 3, 24, 20, generator=rng) * 2 - 1
    y = (x + 0.2 * torch.randn(x.shape, generator=rng)).clamp(-1, 1)
    theirs = peak_signal_noise_ratio(x, y, data_range=2.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(metrics.psnr(x, y), theirs, rtol=REL, atol=0)
    # it pads by reflection; at least 5 pixels inside, the padding has no effect; Wang et al. average these positions
    _, full = structural_similarity_index_measure(x.double(), y.double(), data_range=2.0, return_full_image=True)
    theirs = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    torch.testing.assert_close(metrics.ssim(x, y), theirs.float(), rtol=REL, atol=0)
    torch.testing.assert_close(metrics.l1(x, y), (x - y).abs().mean((1, 2, 3)), rtol=REL, atol=0)


def test_mean_iou_agrees_with_torchmetrics() -> None:
    rng = torch.Generator().manual_seed(0)
    found, wanted = (torch.randint(0, 4, (1, 30, 30), generator=rng) for _ in range(2))
    theirs = their_mean_iou(found, wanted, num_classes=4, input_format="index")
    assert metrics.mean_iou(found, wanted, classes=4) == pytest.approx(theirs.item(), rel=REL)
