"""Metrics at known values and limits: identity, symmetry, order, closed forms, rates under the null."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sparring import metrics
from sparring.base.errors import UserError


def normal(n: int, d: int = 8, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


PAIRS = {
    "frechet": metrics.frechet,
    "kernel": lambda x, y: metrics.kernel_distance(x, y).value,
    "mmd": lambda x, y: metrics.mmd(x, y, bandwidth=2.0).value,
    "cmmd": metrics.cmmd,
    "sliced": lambda x, y: metrics.sliced_wasserstein(x, y),
    "wasserstein": metrics.wasserstein,
    "precision": lambda x, y: metrics.precision_recall(x, y)[0],
    "recall": lambda x, y: metrics.precision_recall(x, y)[1],
    "density": lambda x, y: metrics.density_coverage(x, y)[0],
    "coverage": lambda x, y: metrics.density_coverage(x, y)[1],
}
SYMMETRIC = ("frechet", "kernel", "mmd", "cmmd", "sliced", "wasserstein")


@pytest.mark.parametrize("name", PAIRS)
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    x, y = normal(200), normal(200, seed=1, shift=0.3)
    mixed = [s[torch.randperm(200, generator=torch.Generator().manual_seed(2))] for s in (x, y)]
    assert PAIRS[name](*mixed) == pytest.approx(PAIRS[name](x, y), rel=1e-5)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_distances_are_symmetric(name: str) -> None:
    x, y = normal(150), normal(150, seed=1, shift=0.3, scale=1.4)
    assert PAIRS[name](x, y) == pytest.approx(PAIRS[name](y, x), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("frechet", 0), ("cmmd", 0), ("sliced", 0), ("wasserstein", 0), ("precision", 1), ("coverage", 1)],
)
def test_a_set_against_itself(name: str, expected: float) -> None:
    x = normal(150)
    assert PAIRS[name](x, x) == pytest.approx(expected, abs=1e-6)


def test_frechet_of_two_gaussians_tends_to_the_closed_form() -> None:
    # |m|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) with C1 = I, C2 = 1.5^2 I, m = 0.5 in each of 4 axes: 4 * 0.25 + 4 * 0.25
    x, y = normal(200_000, 4), normal(200_000, 4, seed=1, shift=0.5, scale=1.5)
    assert metrics.frechet(x, y) == pytest.approx(2.0, rel=0.02)


@pytest.mark.slow
def test_frechet_from_means_alone() -> None:
    rng = np.random.RandomState(0)
    x, y = (rng.randn(256, 2048).astype(np.float32) for _ in range(2))
    same = metrics.frechet(x[:4], x[:4] + (y.mean(0) - x.mean(0)))  # the covariances are equal, so the means are left
    assert same == pytest.approx(14.991064, rel=1e-4)


def test_frechet_infinity_removes_the_bias_of_few_generated_samples() -> None:
    real = normal(50_000, 16)
    found = [metrics.frechet_infinity(real, normal(2000, 16, seed=s)) for s in range(1, 9)]
    plain = [metrics.frechet(real, normal(2000, 16, seed=s)) for s in range(1, 9)]
    assert np.mean(plain) > 0.035  # the bias
    error = np.std(found, ddof=1) / 8**0.5
    assert error < 0.005
    assert abs(np.mean(found)) < 0.005 + 3 * error


def test_kernel_distance_is_unbiased_and_its_error_calibrated() -> None:
    found = [metrics.kernel_distance(normal(60, seed=2 * s), normal(300, seed=2 * s + 1)) for s in range(200)]
    values = np.array([f.value for f in found])
    assert abs(values.mean()) < 3 * values.std(ddof=1) / len(values) ** 0.5
    # for equal distributions the jackknife's error is the root of 2 too large
    ratio = np.mean([f.error for f in found]) / values.std(ddof=1)
    assert 1.25 < ratio < 1.6
    apart = [
        metrics.kernel_distance(normal(60, seed=2 * s), normal(300, seed=2 * s + 1, shift=0.5)) for s in range(200)
    ]
    ratio = np.mean([f.error for f in apart]) / np.std([f.value for f in apart], ddof=1)
    assert 0.8 < ratio < 1.25


def test_mmd_is_unbiased() -> None:
    values = np.array([metrics.mmd(normal(60, seed=2 * s), normal(60, seed=2 * s + 1)).value for s in range(200)])
    assert abs(values.mean()) < 3 * values.std(ddof=1) / len(values) ** 0.5


def test_cmmd_at_closed_forms() -> None:
    a, b = torch.eye(3)[:1], torch.eye(3)[1:2]  # of length 1, at a right angle: |a - b|^2 = 2
    assert metrics.cmmd(a.repeat(5, 1), b.repeat(7, 1)) == pytest.approx(2000 * (1 - math.exp(-2 / 200)))
    assert metrics.cmmd(torch.cat([a, b]), torch.cat([b, a])) == pytest.approx(0, abs=1e-9)
    # a and -a against twice a: a sample's pair with itself counts; half of the pairs are |2 a|^2 = 4 apart
    apart = math.exp(-4 / 200)
    wanted = 1000 * ((1 + apart) / 2 + 1 - 2 * (1 + apart) / 2)
    assert metrics.cmmd(torch.cat([a, -a]), a.repeat(2, 1)) == pytest.approx(wanted)
    # normal sets in d dimensions, whose kernel has the mean (1 + 2 / 100)^(-d / 2), times exp of the shift
    n, d, shift = 2000, 8, 1.0
    spread = (1 + 2 / 100) ** (-d / 2)
    bias = 2 * (1 - spread) / n  # of the pairs of a sample with itself, in either set
    wanted = 1000 * (2 * spread * (1 - math.exp(-d * shift**2 / (2 * (100 + 2)))) + bias)
    assert metrics.cmmd(normal(n, d), normal(n, d, seed=1, shift=shift)) == pytest.approx(wanted, rel=0.05)


def test_kernel_metrics_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(100), normal(70, seed=1)
    whole, clip = metrics.kernel_distance(x, y), metrics.cmmd(x, y)
    monkeypatch.setattr("sparring.metrics.distribution.MAX_PAIRS", 700)
    assert metrics.kernel_distance(x, y).value == pytest.approx(whole.value, rel=1e-9)
    assert metrics.kernel_distance(x, y).error == pytest.approx(whole.error, rel=1e-9)
    assert metrics.cmmd(x, y) == pytest.approx(clip, rel=1e-9)


def test_inception_score_known_value_and_limits() -> None:
    logits = torch.tensor([[1.0, 2.0] * 500 + [4.0], [4.0, 5.0] * 500 + [6.0]])
    assert metrics.inception_score(logits).value == pytest.approx(1.0008087798617324, rel=1e-6)
    sure = 100 * torch.eye(10).repeat(
        20, 1
    )  # each class with certainty and equally often: the score is the number of classes
    assert metrics.inception_score(sure).value == pytest.approx(10)
    assert metrics.inception_score(torch.zeros(50, 10)).value == pytest.approx(1)
    logits = normal(90, 5) * 3
    parts = [metrics.inception_score(part).value for part in logits.tensor_split(3)]
    split = metrics.inception_score(logits, splits=3)
    assert split.value == pytest.approx(np.mean(parts))
    assert split.error == pytest.approx(np.std(parts, ddof=1) / 3**0.5)


def test_distances_keep_their_digits_far_from_zero() -> None:
    train, copies = normal(500, 4), normal(500, 4) + 1e-5
    far = 1000.0
    usual = metrics.reference_distances(train + far)
    assert metrics.memorising(copies + far, train + far, usual).share == 1
    one = metrics.precision_recall(train, normal(500, 4, seed=1))
    assert metrics.precision_recall(train.double() + far, normal(500, 4, seed=1).double() + far) == one


def test_density_and_coverage_of_equal_distributions() -> None:
    density, coverage = metrics.density_coverage(normal(3000), normal(3000, seed=1), k=5)
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.015)  # 0.969
    assert metrics.density_coverage(normal(300), normal(300, shift=50.0)) == (0, 0)


def test_a_perfect_sampler_of_1000_modes_has_the_floor_of_the_divergence() -> None:
    shares = torch.full((1000,), 1e-3)
    found = [
        metrics.class_modes(torch.randint(1000, (26_000,), generator=torch.Generator().manual_seed(s)), shares)
        for s in range(20)
    ]
    assert all(f.covered == f.total == 1000 for f in found)
    assert found[0].floor == pytest.approx(0.0192, abs=1e-4)
    assert np.mean([f.divergence for f in found]) == pytest.approx(found[0].floor, rel=0.03)


def test_a_generator_that_omits_half_the_modes_is_measured_as_such() -> None:
    classes = torch.randint(500, (26_000,), generator=torch.Generator().manual_seed(0))
    found = metrics.class_modes(classes, torch.full((1000,), 1e-3))
    assert (found.covered, found.total) == (500, 1000)
    assert found.divergence == pytest.approx(math.log(2) + 499 / 52_000, rel=0.01)


def test_modes_of_classes_that_are_not_equally_common() -> None:
    shares = torch.tensor([0.9, 0.1, 0.0])
    found = metrics.class_modes(torch.tensor([0] * 5 + [1] * 5), shares)
    assert (found.covered, found.total) == (2, 2)
    assert found.divergence == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    assert math.isfinite(metrics.class_modes(torch.tensor([2, 2]), shares).divergence)


def test_different_bins_separate_chance_from_a_missing_mode() -> None:
    centres = 10 * normal(20, seed=3)
    labels = torch.arange(4000) % 20
    real = centres[labels] + normal(4000)
    fresh = centres[labels] + normal(4000, seed=1)
    same = metrics.different_bins(real, fresh, bins=40)
    assert same.different <= 0.2
    assert same.divergence < 0.01
    missing = centres[labels % 10] + normal(4000, seed=1)
    missing = metrics.different_bins(real, missing, bins=40)
    assert missing.different > 0.9
    assert missing.divergence == pytest.approx(0.75 * math.log(4 / 3), rel=0.1)  # JS of uniform and uniform on half
    assert metrics.different_bins(real[:200], fresh[:200]).total == 10


@pytest.mark.parametrize("size", [500, 2000])
def test_the_birthday_estimate_finds_the_size_of_a_support(size: int) -> None:
    real = normal(3000, 16)
    rng = torch.Generator().manual_seed(5)
    made = normal(size, 16, seed=6)[torch.randint(size, (3000,), generator=rng)] + 1e-4 * normal(3000, 16, seed=7)
    found = metrics.birthday(made, real)
    assert found.found
    # the count of pairs is about Poisson, of mean 3000^2 / 2 / size: within 3 standard errors, at least 10 %
    assert found.size == pytest.approx(size, rel=0.1)
    fresh = metrics.birthday(normal(3000, 16, seed=8), real)
    assert not fresh.found
    assert fresh.size > 100_000


def test_memorised_samples_are_found_and_new_ones_are_not() -> None:
    train, held_out, fresh = normal(3000, 6), normal(2000, 6, seed=1), normal(2000, 6, seed=2)
    copies = train[:1000] + 0.01 * normal(1000, 6, seed=3)
    usual = metrics.reference_distances(train, held_out)
    copied = metrics.memorising(copies, train, usual)
    assert copied.share == 1  # all copies
    assert copied.p_value < 1e-10
    assert (copied.index == torch.arange(1000)).all()
    unsuspicious = metrics.memorising(fresh, train, usual)
    assert unsuspicious.expected == pytest.approx(0.01, abs=0.001)
    assert unsuspicious.share == pytest.approx(0.01, abs=0.01)  # 3 standard errors of two quantiles of 2,000 each
    assert unsuspicious.p_value > 0.01
    half = metrics.memorising(torch.cat([copies, fresh[:1000]]), train, usual)
    assert half.share == pytest.approx(0.505, abs=0.01)


def test_without_held_out_samples_the_training_set_gives_the_reference_distances() -> None:
    train, fresh = normal(3000, 6), normal(2000, 6, seed=2)
    usual = metrics.reference_distances(train)
    assert metrics.memorising(fresh, train, usual).share == pytest.approx(0.01, abs=0.01)
    assert metrics.memorising(train[:500], train, usual).share == 1


def test_the_expected_share_is_right_for_few_held_out_samples() -> None:
    # over many draws of 20 held-out and 200 fresh samples; the standard error of the mean is about 0.004
    shares, expected = [], 0.0
    for seed in range(100):
        train, held_out, fresh = (normal(n, 3, seed=3 * seed + i) for i, n in enumerate((300, 20, 200)))
        found = metrics.memorising(fresh, train, metrics.reference_distances(train, held_out))
        shares.append(found.share)
        expected = found.expected
    assert expected == pytest.approx(0.0567, abs=1e-3)
    assert np.mean(shares) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_copies_are_found_in_tight_clusters() -> None:
    from sparring.data.load import load_data, load_held_out

    ring, held_out = load_data("ring"), load_held_out("ring")
    assert held_out is not None
    usual = metrics.reference_distances(ring.samples, held_out.samples[:2000])
    assert metrics.memorising(ring.samples[:1000], ring.samples, usual).share == 1
    assert metrics.memorising(held_out.samples[-2000:], ring.samples, usual).share < 0.03


def test_class_frechet_and_agreement() -> None:
    x, y = normal(100), normal(100, seed=1)
    labels = torch.arange(100) % 3
    found = metrics.class_frechet(x, labels, y, labels)
    assert found[1] == pytest.approx(metrics.frechet(x[labels == 1], y[labels == 1]))
    assert list(metrics.class_frechet(x, labels, y, torch.zeros(100, dtype=torch.long))) == [0]
    assert metrics.agreement(torch.eye(3)[labels], labels) == 1
    assert metrics.agreement(torch.eye(3)[labels], (labels + 1) % 3) == 0


def test_critic_gap_from_no_overfitting_to_full_memorisation() -> None:
    train, fake = normal(4000, 1, shift=2.0), normal(4000, 1, seed=1, shift=-2.0)
    none = metrics.critic_gap(train, normal(4000, 1, seed=2, shift=2.0), fake)
    assert none.overfitting == pytest.approx(0, abs=0.02)
    assert abs(none.ranking - 0.5) < 3 * none.error
    whole = metrics.critic_gap(train, normal(4000, 1, seed=2, shift=-2.0), fake)
    assert whole.overfitting == pytest.approx(1, abs=0.02)
    assert whole.ranking > 0.99


def test_path_length_of_a_linear_map() -> None:
    # features A z along a great circle: the speed is angle * |A direction|, here A = 3 * identity: 9 * angle^2
    a, b = normal(2000, 50), normal(2000, 50, seed=1)
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    angle = (a * b).sum(1).acos()
    found = metrics.path_length(lambda z: 3 * z.double(), a.double(), b.double(), torch.rand(2000, 1).double())
    assert found.value == pytest.approx(9 * angle.square().mean().item(), rel=1e-3)
    line = metrics.path_length(lambda z: 3 * z, a, b, torch.rand(2000, 1), epsilon=0.1, between=torch.lerp)
    assert line.value == pytest.approx(9 * (a - b).square().sum(1).mean().item(), rel=1e-3)


def test_slerp_keeps_to_the_sphere_and_to_its_ends() -> None:
    a, b = normal(20, 9), normal(20, 9, seed=1)
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    middle = metrics.slerp(a, b, torch.full((20, 1), 0.5))
    torch.testing.assert_close(middle.norm(dim=1), torch.ones(20))
    torch.testing.assert_close((middle * a).sum(1), (middle * b).sum(1))
    torch.testing.assert_close(metrics.slerp(a, b, torch.zeros(20, 1)), a)
    torch.testing.assert_close(metrics.slerp(a, b, torch.ones(20, 1)), b)
    torch.testing.assert_close(metrics.slerp(a, a, torch.full((20, 1), 0.3)), a, rtol=1e-3, atol=1e-3)


def test_paired_metrics_at_closed_forms() -> None:
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    assert metrics.psnr(x, x).tolist() == [math.inf, math.inf]
    assert metrics.psnr(x, x + 0.2)[0].item() == pytest.approx(20, rel=1e-4)  # 10 log10(4 / 0.04)
    torch.testing.assert_close(metrics.ssim(x, x), torch.ones(2))
    torch.testing.assert_close(metrics.l1(x, x + 0.5), torch.full((2,), 0.5))
    wanted = torch.tensor([[0, 0, 1, 1]])
    assert metrics.mean_iou(torch.tensor([[0, 1, 1, 1]]), wanted, classes=3) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.mean_iou(torch.tensor([[0, 0, 0, 0]]), wanted, classes=3, ignore=1) == 1


MISTAKES = {
    "NaN": (lambda: metrics.frechet(normal(50) * math.nan, normal(50)), "NaN or infinite"),
    "infinity": (lambda: metrics.kernel_distance(normal(50), normal(50) / 0), "NaN or infinite"),
    "one sample": (lambda: metrics.frechet(normal(1), normal(50)), "1 samples are too few"),
    "fewer than k": (lambda: metrics.precision_recall(normal(3), normal(3), k=3), "too few for k=3"),
    "other dimensions": (lambda: metrics.frechet(normal(50, 3), normal(50, 4)), "3 and of 4 dimensions"),
    "no features": (lambda: metrics.frechet(torch.zeros(5), torch.zeros(5)), r"shape \[5\]; give"),
    "other shapes": (lambda: metrics.psnr(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 9)), "pair by pair"),
    "unknown class": (lambda: metrics.mean_iou(torch.tensor([4]), torch.tensor([0]), classes=3), "4 to 4; give 0 to 2"),
    "small for SSIM": (
        lambda: metrics.ssim(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)),
        "smaller than SSIM's window",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_input_is_refused(name: str) -> None:
    work, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        work()


def textured(count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> torch.Tensor:
    """Random RGB images whose spectrum falls as that of photographs, uint8."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, *size, generator=rng, dtype=torch.float64)
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1])
    fall = 1 / (rows.square() + columns.square()).sqrt().clamp(min=1 / max(size))
    images = torch.fft.ifft2(torch.fft.fft2(noise) * fall).real
    return (128 + 40 * images / images.std((1, 2, 3), keepdim=True)).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (28, 28)])
@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=["rows", "columns", "both"])
def test_grid_share_is_that_of_the_images_with_a_grid(
    size: tuple[int, int], period: int, axes: tuple[int, ...]
) -> None:
    """A pattern on a quarter of the images is found; a fine one at 6 of 255 levels, where the texture varies by 40."""
    real, fake = textured(1000, size, seed=1), textured(400, size, seed=2)
    share, expected = metrics.grid_share(real, fake)
    assert expected == pytest.approx(0.01)
    assert share <= 0.03  # binomial, 400 of 0.01: below 0.03 with 99.9 %
    places = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    pattern = torch.stack([(2 * torch.pi * places[axis] / period).cos() for axis in axes]).prod(0)
    made = fake.double()
    made[:100] += {2: 6, 4: 20}[period] * pattern
    share, _ = metrics.grid_share(real, made.clamp(0, 255).round().to(torch.uint8))
    assert share == pytest.approx(0.25, abs=0.03)


def test_grid_strength_ignores_brightness_and_contrast() -> None:
    images = textured(50).double()
    torch.testing.assert_close(metrics.grid_strength(0.3 * images - 1), metrics.grid_strength(images))
    assert metrics.grid_strength(torch.zeros(3, 1, 16, 16)).eq(0).all()
    with pytest.raises(UserError, match="at least 16x16, not 8x12"):
        metrics.grid_strength(torch.zeros(1, 3, 12, 8))
