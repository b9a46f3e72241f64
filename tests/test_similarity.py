"""Scores of translated or restored images, each against a closed form, scikit-image or sums written out here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg, ndimage, stats
from similarity import CLOSE, SIZES, Brightness, examples, near, noise, prepare_random, restore, score, squares, wider
from skimage.color import rgb2lab, rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score, jaccard_score

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.samples import image_data, joined
from sparring.evaluation.examples import Outcome, holes, patches
from sparring.metrics import Estimate
from sparring.metrics.extractors import Prepared
from sparring.tasks import Contrast, Cycle, Segment, Translate
from sparring.tasks.degrade import Downscale, Grey, Mask, Noise


def check_mean(found: Any, values: Sequence[float]) -> None:
    """The mean with its standard error."""
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(np.mean(values), rel=CLOSE)
    assert found.error == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5, rel=1e-3)


def similarity(x: Any, y: Any, **options: Any) -> float:
    floats = x.astype(np.float64), y.astype(np.float64)
    found = structural_similarity(
        *floats, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, **options
    )
    return float(found)


def test_super_resolution_is_scored_on_luminance_without_the_border() -> None:
    truth = [noise(1, 3, *size)[0] for size in SIZES]
    made = [near(image, i) for i, image in enumerate(truth)]
    found = examples(restore(Downscale(4)), made, truth)
    lights = [[rgb2ycbcr(wider(image))[4:-4, 4:-4, 0] for image in images] for images in (truth, made)]
    check_mean(score(found, "psnr"), [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(*lights)])
    check_mean(score(found, "ssim"), [similarity(x, y) for x, y in zip(*lights)])


def test_other_restorations_are_scored_on_all_values() -> None:
    truth = [noise(1, 3, *size)[0] for size in SIZES]
    made = [near(image, i) for i, image in enumerate(truth)]
    pairs = [(wider(x), wider(y)) for x, y in zip(truth, made)]
    for task in (restore(Noise(25)), Translate().for_data(Form((3, 32, 32), source=Form((1, 32, 32))))):
        found = examples(task, made, truth)
        check_mean(score(found, "psnr"), [peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs])
        check_mean(score(found, "ssim"), [similarity(x, y, channel_axis=2) for x, y in pairs])


def test_l1_by_hand() -> None:
    truth = [torch.full((3, 8, 8), 100, dtype=torch.uint8), torch.full((3, 5, 9), 100, dtype=torch.uint8)]
    made = [truth[0] + 51, truth[1] - 51]  # a fifth of 255, which spans 2
    made[1][:, :, :3] = 100
    check_mean(score(examples(restore(Noise()), made, truth), "l1"), [0.4, 0.4 * 6 / 9])


def test_the_baseline_is_scored_as_the_run_is() -> None:
    truth = noise(3, 3, 24, 24)
    made, baseline = near(truth, 1), near(truth, 2, by=60)
    found = examples(restore(Noise()), list(made), list(truth), baseline=list(baseline))
    swapped = examples(restore(Noise()), list(baseline), list(truth))
    for name in ("psnr", "ssim", "l1", "perceptual", "frechet", "kernel_distance", "colours"):
        assert score(found, name, "baseline") == score(swapped, name), name
        assert score(found, name) != score(swapped, name), name


def test_psnr_of_holes_by_hand() -> None:
    truth = torch.full((2, 3, 24, 24), 100, dtype=torch.uint8)
    masks = squares((4, 6, 8, 8), (0, 0, 3, 5))
    made = [truth[0] + 150, truth[1] + 150]  # does not count outside the hole
    made[0][:, masks[0][0]] = 110
    made[1][:, masks[1][0]] = 75
    found = examples(restore(Mask("centre", size=8)), made, list(truth), masks=masks)
    check_mean(score(found, "psnr_hole"), [20 * np.log10(255 / 10), 20 * np.log10(255 / 25)])


def test_an_output_equal_to_its_target_counts_as_100_db() -> None:
    truth = [noise(1, 3, 16, 16)[0], noise(1, 3, 16, 16, seed=1)[0]]
    other = near(truth[1], 1)
    found = examples(restore(Noise(25)), [truth[0], other], truth, baseline=[near(image, 2) for image in truth])
    decibels = peak_signal_noise_ratio(wider(truth[1]), wider(other), data_range=255)
    check_mean(score(found, "psnr"), [100, decibels])


def test_perceptual_distance_is_that_of_unit_vectors_of_each_layer() -> None:
    truth = [noise(1, 3, *size)[0] for size in SIZES]
    made = [near(image, i) for i, image in enumerate(truth)]
    found = examples(restore(Noise()), made, truth, tests=image_data("tests", noise(2, 3, 20, 20)))
    extractor = prepare_random(image_data("any", noise(2, 3, 20, 20)))
    wanted = []
    for x, y in zip(made, truth):
        layers = [extractor.maps(image[None].float() / 127.5 - 1) for image in (x, y)]
        each = []
        for first, second in zip(*layers):
            u, v = (m[0].double().numpy() / np.linalg.norm(m[0].double().numpy(), axis=0) for m in (first, second))
            each.append(np.square(u - v).sum(0).mean())
        wanted.append(float(np.mean(each)))
    check_mean(score(found, "perceptual"), wanted)


def test_edges_are_those_of_scipy() -> None:
    sources = [noise(1, 3, *size)[0] for size in SIZES]
    made = [near(image, i, by=200)[:1] for i, image in enumerate(sources)]
    wanted = []
    for x, y in zip(made, sources):
        found = []
        for image in (x, y):
            grey = image.double().mean(0).numpy()
            found.append(np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))[1:-1, 1:-1].ravel())
        wanted.append(float(np.corrcoef(*found)[0, 1]))
    form = Form((1, 20, 20), source=Form((3, 20, 20)))
    check_mean(score(examples(Cycle().for_data(form), made, None, sources=sources), "edges"), wanted)
    flat = [torch.full_like(image, 9) for image in made]
    assert score(examples(Cycle().for_data(form), flat, None, sources=sources), "edges") == Estimate(0.0, 0.0)
    assert score(examples(Cycle().for_data(form), sources, None), "edges").value == pytest.approx(1)


def test_cycle_l1_by_hand() -> None:
    sources = [torch.full((1, 4, 4), 10, dtype=torch.uint8), torch.full((1, 4, 4), 60, dtype=torch.uint8)]
    returned = [sources[0] + 51, sources[1]]
    found = examples(Cycle(), [255 - image for image in sources], None, sources=sources, returned=returned)
    check_mean(score(found, "cycle_l1"), [0.4, 0.0])


# ------------------------------------------------------------------------------------------------------ distributions


def features(pieces: Sequence[Any]) -> Any:
    """Features by `Random()` of pieces [C, H, W] of one size, one by one."""
    extractor = prepare_random(image_data("any", torch.from_numpy(np.stack(pieces[:1]))))
    rows = [extractor(torch.from_numpy(np.ascontiguousarray(piece))[None]).features[0] for piece in pieces]
    return torch.stack(rows).double().numpy()


def check_distances(found: Outcome, real: Sequence[Any], made: Sequence[Any]) -> None:
    """Check Frechet and kernel distance of given pieces against sums written out here."""
    x, y = features(real), features(made)
    between = linalg.sqrtm((np.cov(x.T) @ np.cov(y.T)).astype(np.complex128)).real
    frechet = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * between)
    assert score(found, "frechet") == pytest.approx(frechet, rel=2e-2)  # square roots of singular matrices lose digits
    n, m, d = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    kernel = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean()
    assert score(found, "kernel_distance").value == pytest.approx(kernel, rel=CLOSE)
    assert score(found, "kernel_distance").error > 0


def test_distances_of_whole_images() -> None:
    truth, made = noise(12, 3, 16, 16), noise(12, 3, 16, 16, seed=1) // 2
    tests = image_data("tests", truth)
    check_distances(examples(restore(Noise()), list(made), list(truth), tests=tests), truth.numpy(), made.numpy())


def test_distances_of_patches_of_larger_images() -> None:
    sizes = ((40, 50), (33, 70), (16, 20))
    truth = [noise(1, 3, *size, seed=i)[0] for i, size in enumerate(sizes)]
    made = [image // 2 for image in truth]
    tests = image_data("tests", noise(3, 3, 16, 18))
    real, fake = [], []
    for images, cut in ((truth, real), (made, fake)):
        for image in images:
            _, height, width = image.shape
            for top in range(0, height - 15, 16):
                cut += [image[:, top : top + 16, left : left + 16].numpy() for left in range(0, width - 15, 16)]
    assert len(real) == 2 * 3 + 2 * 4 + 1
    check_distances(examples(restore(Noise()), made, truth, tests=tests), real, fake)


def test_patches_of_large_images_have_128_pixels_a_side() -> None:
    images = noise(2, 1, 200, 300)
    found = examples(restore(Noise(), shape=(1, 200, 300)), list(images), list(images))
    assert found.pieces.shape == (4, 1, 128, 128)
    assert torch.equal(found.examples.real_pieces[1], images[0, :, :128, 128:256])


def test_distances_of_holes() -> None:
    truth, made = noise(10, 3, 24, 24), noise(10, 3, 24, 24, seed=1) // 2
    corners = [(i % 7, 2 * (i % 5)) for i in range(10)]
    masks = squares(*((top, left, 9, 9) for top, left in corners))
    real, fake = (
        [image[:, top : top + 9, left : left + 9].numpy() for image, (top, left) in zip(images, corners)]
        for images in (truth, made)
    )
    task = restore(Mask("random"))
    check_distances(examples(task, list(made), list(truth), masks=masks), real, fake)


def test_holes_of_several_sizes_are_brought_to_the_shortest_side() -> None:
    truth = torch.arange(24, dtype=torch.uint8).expand(2, 3, 24, 24).contiguous()
    truth[1, :, 3:15, 10:13] = torch.tensor([0, 216, 0], dtype=torch.uint8)  # one of three merged columns
    masks = squares((2, 4, 6, 6), (3, 4, 12, 18))
    masks[0][0, 3, 5] = False  # a hole is replaced by its bounding box
    found = examples(restore(Mask("random")), list(truth), list(truth), masks=masks)
    assert [tuple(hole.shape) for hole in holes(masks, list(truth))] == [(3, 6, 6), (3, 12, 18)]
    pieces = found.examples.real_pieces
    assert pieces[0, 0, 0].tolist() == [4, 5, 6, 7, 8, 9]
    row = [4, 5, 6, 7, 8, 9, 0, 216, 0, *range(13, 22)]
    small = np.array(Image.fromarray(np.array([row] * 12, np.uint8)).resize((6, 6), Image.Resampling.BILINEAR))
    assert pieces[1, 0, 0].tolist() == small[0].tolist()


def test_two_sets_are_compared_whole() -> None:
    a, b = noise(12, 3, 16, 16), noise(9, 3, 16, 16, seed=1) // 2
    tests = joined("sets", image_data("a", a), image_data("b", b), paired=False)
    made = a // 3
    found = examples(Cycle().for_data(tests.form), list(made), None, sources=list(a), tests=tests)
    check_distances(found, b.numpy(), made.numpy())


def test_patches_do_not_overlap() -> None:
    image = torch.arange(49, dtype=torch.uint8).view(1, 7, 7)
    cut = patches([image, image[:, :4]], 3)
    assert cut[:, 0, 0, 0].tolist() == [0, 3, 21, 24, 0, 3]
    assert cut[1, 0].tolist() == [[3, 4, 5], [10, 11, 12], [17, 18, 19]]
    assert torch.equal(patches([image, image], 7), torch.stack([image, image]))
    with pytest.raises(UserError, match=r"no image is as large as a patch \(7x7 is the first\); give at least 8x8"):
        patches([image, image[:, :4]], 8)


def test_colours_are_those_of_all_pixels_together() -> None:
    truth, made = noise(3, 3, 9, 12), noise(3, 3, 9, 12, seed=1) // 2
    found = score(examples(restore(Grey()), list(made), list(truth)), "colours")
    lab = [np.concatenate([rgb2lab(wider(image)).reshape(-1, 3) for image in images]) for images in (made, truth)]
    wanted = [stats.wasserstein_distance(lab[0][:, i], lab[1][:, i]) for i in (1, 2)]
    assert found == pytest.approx(np.mean(wanted), rel=CLOSE)


def test_taken_for_target_is_a_share() -> None:
    made = [torch.full((1, 8, 8), level, dtype=torch.uint8) for level in (3, 200, 130, 100, 255)]
    classifier = Prepared("brightness", Brightness(), "1", classes=2, labels=True)
    found = examples(Contrast(), made, None, prepare=lambda data: classifier)
    check_mean(score(found, "taken_for_target"), [0, 1, 1, 0, 1])


def test_segmentations_are_counted_over_all_pixels() -> None:
    names = ("a", "b", "c")
    truth = [noise(1, 1, *size, seed=i)[0] % 3 for i, size in enumerate(SIZES)]
    made = [torch.where(noise(1, 1, *image.shape[1:], seed=7)[0] < 80, (image + 1) % 3, image) for image in truth]
    truth[0][:, :10] = 255  # no class
    form = Form((1, 20, 20), names, map=True, source=Form((3, 20, 20)))
    tests = replace(image_data("tests", truth[0][None]), form=form)
    found = examples(Segment(classes=names).for_data(form), made, truth, tests=tests)
    x, y = (torch.cat([image.flatten() for image in images]).numpy() for images in (made, truth))
    known = y < 3
    assert score(found, "mean_iou") == pytest.approx(jaccard_score(y[known], x[known], average="macro"), rel=CLOSE)
    assert score(found, "pixel_accuracy") == pytest.approx(accuracy_score(y[known], x[known]), rel=CLOSE)
