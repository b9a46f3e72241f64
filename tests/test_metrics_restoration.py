"""Metrics of restorations against hand-computed values, scikit-image, scikit-learn, Pillow and published scores."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.color import rgb2lab, rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import inpaint_biharmonic
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from torch import Tensor

from sparring import metrics
from sparring.base.errors import UserError
from sparring.data.samples import image_data
from sparring.metrics.colour import lab
from sparring.metrics.extractors import Pixels, Prepared, Random
from sparring.metrics.extractors.classifier import ClassifierNetwork
from sparring.metrics.extractors.inception import InceptionNetwork
from sparring.metrics.extractors.plain import Shrink
from sparring.metrics.extractors.pretrained import to_levels
from sparring.tasks.baselines import biharmonic, interpolated, most_frequent_class
from sparring.tasks.degrade import Downscale, Mask, cropped

CPU = torch.device("cpu")
CLOSE = 1e-4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(channels: int = 3, height: int = 30, width: int = 26) -> tuple[Tensor, Tensor]:
    """uint8 images, and the same with noise."""
    x = torch.randint(0, 256, (2, channels, height, width), generator=seeded(0))
    y = (x + torch.randint(-30, 31, x.shape, generator=seeded(1))).clamp(0, 255)
    return x.to(torch.uint8), y.to(torch.uint8)


def as_input(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def wider(image: Tensor) -> Any:
    """[C, H, W] -> [H, W, C], as scikit-image and Pillow take it."""
    return image.permute(1, 2, 0).contiguous().numpy()


# luminance, borders


def test_luminance_by_hand() -> None:
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [100, 100, 100]])
    images = colours.to(torch.uint8)[:, :, None, None]
    expected = [16, 235, 81.481, 144.553, 40.966, 16 + 219 * 100 / 255]
    assert metrics.luminance(images).flatten().tolist() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(metrics.luminance(as_input(images)), metrics.luminance(images))


def test_luminance_is_that_of_scikit_image() -> None:
    x, _ = pair()
    made = metrics.luminance(x)
    assert made.shape == (2, 1, 30, 26)
    for image, mine in zip(x, made):
        np.testing.assert_allclose(mine[0].numpy(), rgb2ycbcr(wider(image))[..., 0], rtol=CLOSE)


def test_grey_stays_grey() -> None:
    x, _ = pair(channels=1)
    assert torch.equal(metrics.luminance(x), x.float())
    torch.testing.assert_close(metrics.luminance(as_input(x)), x.float())


@pytest.mark.parametrize("border", [0, 3, 4])
def test_psnr_and_ssim_are_those_of_scikit_image(border: int) -> None:
    x, y = pair()
    inside = (slice(border, 30 - border), slice(border, 26 - border))
    for span, first, second in ((255.0, x, y), (2.0, as_input(x), as_input(y))):
        psnr, ssim = (metric(first, second, span, border) for metric in (metrics.psnr, metrics.ssim))
        for i in range(2):
            a, b = wider(first[i])[inside], wider(second[i])[inside]
            assert psnr[i].item() == pytest.approx(peak_signal_noise_ratio(a, b, data_range=span), rel=CLOSE)
            theirs = structural_similarity(
                a.astype(np.float64),
                b.astype(np.float64),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=span,
                channel_axis=2,
            )
            assert ssim[i].item() == pytest.approx(theirs, rel=CLOSE)


def test_a_border_is_cut_on_each_side() -> None:
    images = torch.arange(5 * 7).view(1, 1, 5, 7)
    assert metrics.cut_border(images, 2)[0, 0].tolist() == [[16, 17, 18]]
    assert torch.equal(metrics.cut_border(images, 0), images)
    spoiled = as_input(pair()[0])
    spoiled[..., :4, :] = 5
    assert metrics.psnr(as_input(pair()[0]), spoiled, border=4).tolist() == [math.inf, math.inf]


PUBLISHED = {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)}  # bicubic on Set5: Lim et al. 2017 (EDSR)


@pytest.mark.parametrize("scale", PUBLISHED)
def test_bicubic_on_set5_is_as_published(scale: int, real_set: Callable[[str], Path]) -> None:
    path = real_set("super_resolution") / "test.parquet"
    from pyarrow import parquet

    found = []
    for row in parquet.read_table(path).to_pylist():
        if row["set"] == "Set5":
            pixels = np.array(Image.open(io.BytesIO(row["image"]["bytes"])))
            wanted = cropped(torch.from_numpy(pixels).permute(2, 0, 1)[None], scale)
            made = interpolated(Downscale(scale)(as_input(wanted)).source, (wanted.shape[2], wanted.shape[3]))
            y = [metrics.luminance(images) for images in (made.add(1).mul(127.5).round().to(torch.uint8), wanted)]
            found.append([metric(*y, span=255, border=scale).item() for metric in (metrics.psnr, metrics.ssim)])
    assert len(found) == 5
    psnr, ssim = np.mean(found, 0)
    assert psnr == pytest.approx(PUBLISHED[scale][0], abs=0.03)  # MATLAB's imresize continues borders otherwise
    assert ssim == pytest.approx(PUBLISHED[scale][1], abs=0.0015)


# segmentations


def test_confusion_by_hand() -> None:
    wanted = torch.tensor([[0, 0, 1, 1, 1, 3, 200]])
    found = torch.tensor([[0, 1, 1, 1, 0, 2, 2]])
    pairs = metrics.confusion(found, wanted, classes=3)  # 3 and 200 are unlabelled
    assert pairs.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert metrics.class_iou(pairs)[:2].tolist() == pytest.approx([1 / 3, 1 / 2])
    assert metrics.class_iou(pairs)[2].isnan()
    assert metrics.iou_of(pairs) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert metrics.accuracy_of(pairs) == pytest.approx(3 / 5)
    assert metrics.confusion(found, wanted, classes=4).sum() == 6
    assert metrics.confusion(found, wanted, classes=4, ignore=1).tolist()[1] == [0, 0, 0, 0]
    assert metrics.pixel_accuracy(found, wanted) == pytest.approx(3 / 7)
    assert metrics.pixel_accuracy(found, wanted, ignore=200) == pytest.approx(3 / 6)


def test_confusion_agrees_with_scikit_learn_and_adds_up() -> None:
    classes = 20  # so many that products of bytes would overflow
    sizes = ((1, 40, 50), (1, 31, 20))
    wanted = [torch.randint(0, classes, size, generator=seeded(i), dtype=torch.uint8) for i, size in enumerate(sizes)]
    noise = [torch.rand(size, generator=seeded(9)) < 0.3 for size in sizes]
    found = [torch.where(n, (w + 1) % classes, w) for w, n in zip(wanted, noise)]
    pairs = sum((metrics.confusion(f, w, classes) for f, w in zip(found, wanted)), torch.zeros(classes, classes))
    flat_wanted, flat_found = (torch.cat([part.flatten() for part in parts]).numpy() for parts in (wanted, found))
    np.testing.assert_array_equal(pairs.numpy(), confusion_matrix(flat_wanted, flat_found))
    each = jaccard_score(flat_wanted, flat_found, average=None)
    np.testing.assert_allclose(metrics.class_iou(pairs).numpy(), each, rtol=CLOSE)
    assert metrics.iou_of(pairs) == pytest.approx(each.mean(), rel=CLOSE)
    assert metrics.accuracy_of(pairs) == pytest.approx(accuracy_score(flat_wanted, flat_found), rel=CLOSE)
    assert metrics.mean_iou(found[0], wanted[0], classes) == metrics.iou_of(
        metrics.confusion(found[0], wanted[0], classes)
    )
    assert metrics.pixel_accuracy(found[0], wanted[0]) == pytest.approx(1 - noise[0].float().mean().item())


def test_an_unlabelled_image_adds_nothing() -> None:
    nothing = metrics.confusion(torch.zeros(1, 4, 4).byte(), torch.full((1, 4, 4), 255, dtype=torch.uint8), classes=3)
    assert torch.equal(nothing, torch.zeros(3, 3, dtype=torch.int64))


# colours


def flat(*colour: int, size: tuple[int, int] = (6, 5)) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, *size)


def chroma(*colour: int) -> Any:
    return rgb2lab(np.array([[colour]], dtype=np.uint8))[0, 0, 1:]


def test_colour_distance_by_hand() -> None:
    red, blue = (200, 30, 40), (20, 60, 220)
    apart = np.abs(chroma(*red) - chroma(*blue))
    assert metrics.colour_distance([flat(*red)], [flat(*blue)]) == pytest.approx(apart.mean(), rel=CLOSE)
    # half of the pixels must change; sets of different counts and sizes
    half = metrics.colour_distance([flat(*red), flat(*blue)], [flat(*red, size=(9, 2))])
    assert half == pytest.approx(apart.mean() / 2, rel=CLOSE)
    quarters = [flat(*red), flat(*red), flat(*red), flat(*blue)]
    assert metrics.colour_distance(quarters, [flat(*blue)]) == pytest.approx(0.75 * apart.mean(), rel=CLOSE)
    greys = metrics.colour_distance([flat(30, 30, 30)], [flat(220, 220, 220)])
    assert greys < 0.02  # lightness does not count; the standard's matrix leaves greys at about 0.01


def test_colour_distance_ignores_position_and_order() -> None:
    x, y = pair()
    shuffled = x.flatten(2)[:, :, torch.randperm(30 * 26, generator=seeded(2))].view_as(x)
    assert metrics.colour_distance(x, shuffled) == 0
    assert metrics.colour_distance(x, x.flip(0)) == 0
    assert metrics.colour_distance(x, y) == pytest.approx(metrics.colour_distance(y, x), rel=1e-9)
    assert metrics.colour_distance(as_input(x), as_input(y)) == pytest.approx(metrics.colour_distance(x, y), rel=CLOSE)
    beyond = 1.5 * as_input(x)  # as a network without tanh may output
    assert metrics.colour_distance(beyond, beyond.clamp(-1, 1)) == 0
    grey = x[:, :1]
    assert metrics.colour_distance(grey, grey.expand(-1, 3, -1, -1)) == 0
    assert metrics.colour_distance(x, grey) > 10


# perceptual distances by maps


def test_distance_of_maps_by_hand() -> None:
    one, other = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    one[0, :, 0, 0], other[0, :, 0, 0] = torch.tensor([3.0, 0]), torch.tensor([0, 0.1])  # at a right angle: 2
    one[0, :, 0, 1], other[0, :, 0, 1] = torch.tensor([1.0, 1]), torch.tensor([5.0, 5])  # the same direction: 0
    assert metrics.maps_distance([one], [other]).tolist() == pytest.approx([1.0])
    opposite = torch.tensor([1.0, 2]).view(1, 2, 1, 1)
    assert metrics.maps_distance([opposite], [-opposite]).item() == pytest.approx(4)
    layers = metrics.maps_distance([one, opposite], [other, -opposite])
    assert layers.tolist() == pytest.approx([2.5])  # layers count alike, however many places they have
    assert metrics.maps_distance([one, opposite], [one, opposite]).tolist() == [0]


def test_distance_of_maps_has_a_finite_gradient_at_zeros() -> None:
    found = torch.zeros(2, 4, 3, 3, requires_grad=True)
    metrics.maps_distance([found], [torch.zeros(2, 4, 3, 3)]).sum().backward()  # type: ignore[no-untyped-call]
    assert found.grad is not None
    assert found.grad.isfinite().all()


def random_extractor(*shape: int) -> Prepared:
    return Random().prepare(image_data("any", torch.zeros(2, *shape, dtype=torch.uint8)), CPU)


def networks() -> dict[str, Prepared]:
    """All extractors with feature maps; the last two with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = ClassifierNetwork(3, Shrink((3, 64, 64), 32), 5).requires_grad_(False).eval()
        inception = InceptionNetwork().requires_grad_(False).eval()
    named = {"Classifier()": classifier, "Inception()": inception}
    return {"Random()": random_extractor(3, 64, 64), **{n: Prepared(n, network, "x") for n, network in named.items()}}


@pytest.mark.parametrize(("name", "layers"), [("Random()", 4), ("Classifier()", 4), ("Inception()", 4)])
def test_feature_maps_have_the_size_of_the_image(name: str, layers: int) -> None:
    extractor = networks()[name]
    x, y = (as_input(images) for images in pair(height=120, width=80))
    sizes = [tuple(layer.shape[2:]) for layer in extractor.maps(x)]
    assert len(sizes) == layers
    assert sizes[0] in ((60, 40), (120, 80), (57, 37))  # by the first stride and padding; images are not shrunk before
    assert sizes == sorted(sizes, reverse=True)
    assert name == "Random()" or all(layer.min() == 0 for layer in extractor.maps(x)), "after the rectifiers"
    distance = metrics.perceptual_maps(x, y, extractor)
    assert distance.shape == (2,)
    assert 0 < distance.min() <= distance.max() < 4
    assert metrics.perceptual_maps(x, x, extractor).tolist() == [0, 0]
    torch.testing.assert_close(metrics.perceptual_maps(*pair(height=120, width=80), extractor), distance)
    torch.testing.assert_close(metrics.perceptual_maps(x[1:], y[1:], extractor), distance[1:], rtol=1e-3, atol=1e-6)
    y.requires_grad_()
    metrics.perceptual_maps(x, y, extractor).sum().backward()  # type: ignore[no-untyped-call]
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert y.grad.abs().sum(1).flatten(1).gt(0).float().mean() > 0.9, "nearly every pixel has a gradient"


def test_features_are_those_of_shrunk_images() -> None:
    x = as_input(pair(height=128, width=96)[0])
    small = F.interpolate(x, (64, 48), mode="bilinear", antialias=True)
    extractor = random_extractor(3, 128, 96)
    assert torch.equal(extractor(x).features, extractor(small).features)
    assert [tuple(layer.shape[2:]) for layer in extractor.maps(x)] == [(64, 48), (32, 24), (16, 12), (8, 6)]


def test_the_gradient_leads_to_the_target() -> None:
    extractor = random_extractor(3, 32, 32)
    wanted, made = (as_input(images) for images in pair(height=32, width=32))
    made = made.clone().requires_grad_()
    optimizer = torch.optim.Adam([made], lr=0.02)
    before = metrics.perceptual_maps(made, wanted, extractor).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        metrics.perceptual_maps(made, wanted, extractor).mean().backward()
        optimizer.step()
    assert metrics.perceptual_maps(made, wanted, extractor).mean().item() < 0.2 * before


def test_inceptions_maps_are_those_of_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    network = networks()["Inception()"].network
    assert isinstance(network, InceptionNetwork)
    x = as_input(torch.randint(0, 256, (1, 3, 299, 299), generator=seeded(0)))  # needs no resizing or rounding
    last = network.maps(x)[-1]
    seen = network.Mixed_7c(network.Mixed_7b(network.Mixed_7a(last))).mean((2, 3))
    torch.testing.assert_close(seen, network(x)[0], rtol=1e-5, atol=1e-6)
    assert [layer.shape[1] for layer in network.maps(x[:, :1, :43, :50])] == [64, 192, 288, 768]
    monkeypatch.setattr(network, "_layers", lambda images: [images])
    torch.testing.assert_close(
        network.maps(x)[0], (to_levels(x) - 128) / 128
    )  # an untrained network hardly shows a difference


# baselines


def test_interpolation_is_that_of_pillow() -> None:
    x, _ = pair()
    made = interpolated(as_input(x), (75, 104)).add(1).mul(127.5)
    for image, mine in zip(x.float().numpy()[:, 0], made[:, 0]):
        theirs = np.array(Image.fromarray(image).resize((104, 75), Image.Resampling.BICUBIC)).clip(0, 255)
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 7, 31), (3, 24, 20), (2, 1, 9), (1, 2, 2)])
def test_biharmonic_is_that_of_scikit_image(shape: tuple[int, int, int]) -> None:
    image = torch.rand(shape, generator=seeded(0), dtype=torch.float64) * 2 - 1
    mask = torch.rand(1, *shape[1:], generator=seeded(1)) < 0.3
    mask[0, : shape[1] // 2 + 1, : shape[2] // 3] = True  # at a border and in a corner, too
    wanted = inpaint_biharmonic(image.numpy(), mask[0].numpy(), channel_axis=0)
    np.testing.assert_allclose(biharmonic(image, mask.float()).numpy(), wanted, atol=1e-9)


def test_lab_is_that_of_scikit_image() -> None:
    colours = torch.rand(500, 3, generator=seeded(0), dtype=torch.float64).numpy() ** 3
    np.testing.assert_allclose(lab(colours), rgb2lab(colours[None])[0], atol=1e-9)


def test_biharmonic_continues_what_is_smooth() -> None:
    rows, columns = torch.meshgrid(torch.linspace(-0.8, 0.7, 24), torch.linspace(0, 1, 20), indexing="ij")
    image = torch.stack([rows, 0.5 * rows + 0.4 * columns - 0.2, rows * columns])  # each is biharmonic
    mask = Mask("centre", size=8).draw(1, 24, 20)[0]
    damaged = torch.where(mask.bool(), 0.0, image)
    made = biharmonic(damaged, mask)
    torch.testing.assert_close(made, image, rtol=0, atol=1e-3)
    assert torch.equal(made[~mask.bool().expand_as(image)], image[~mask.bool().expand_as(image)])
    assert torch.equal(biharmonic(image, torch.zeros(1, 24, 20)), image)


def test_the_most_frequent_class_by_hand() -> None:
    maps = [
        torch.tensor([values], dtype=torch.uint8).view(1, 2, 2)
        for values in ([0, 1, 2, 9], [0, 1, 1, 9], [1, 2, 1, 255])
    ]
    assert most_frequent_class(maps, 3, (2, 2)).tolist() == [[[0, 1], [1, 1]]]  # the last has none: 1 is most frequent
    assert most_frequent_class(iter(maps[:1]), 3, (2, 2)).tolist() == [[[0, 1], [2, 0]]]  # of several, the least
    larger = most_frequent_class([*maps, torch.full((1, 4, 4), 2, dtype=torch.uint8)], 3, (4, 4))
    thirds = torch.tensor([[[0, 1, 2]]], dtype=torch.uint8)
    assert most_frequent_class([thirds], 3, (1, 2)).tolist() == [[[0, 2]]]  # at 0.75 and 2.25 of the three pixels
    assert larger.dtype == torch.uint8
    assert larger[0, ::2, ::2].tolist() == larger[0, 1::2, 1::2].tolist() == [[0, 1], [1, 2]]


MISTAKES: dict[str, tuple[Any, str]] = {
    "luminance of two channels": (lambda: metrics.luminance(torch.zeros(1, 2, 4, 4)), "neither RGB nor grey"),
    "border": (
        lambda: metrics.psnr(*pair(), border=13),
        "border=13 leaves nothing of images of 26x30; take at most 12",
    ),
    "negative border": (lambda: metrics.ssim(*pair(), border=-1), "border=-1 must be"),
    "too small within the border": (lambda: metrics.ssim(*pair(), border=9), "images of 12x8 are smaller"),
    "no images": (lambda: metrics.colour_distance([], [flat(1, 2, 3)]), "a set of images is empty"),
    "colours of two channels": (lambda: metrics.colour_distance([torch.zeros(2, 4, 4)], []), "neither RGB nor grey"),
    "found no class": (lambda: metrics.confusion(torch.tensor([3]), torch.tensor([0]), 3), "3 to 3; give 0 to 2"),
    "wanted below": (lambda: metrics.confusion(torch.tensor([0]), torch.tensor([-1]), 3), "-1 to -1; give 0 to 2"),
    "wanted beyond": (lambda: metrics.mean_iou(torch.tensor([0]), torch.tensor([7]), 3), "7 to 7; give 0 to 2"),
    "other shapes": (lambda: metrics.confusion(torch.zeros(2), torch.zeros(3), 3), r"\[2\] and \[3\] cannot"),
    "other shapes of mean_iou": (
        lambda: metrics.mean_iou(torch.zeros(2), torch.zeros(3), 3),
        r"\[2\] and \[3\] cannot",
    ),
    "other shapes of accuracy": (lambda: metrics.pixel_accuracy(torch.zeros(2), torch.zeros(3)), "cannot be compared"),
    "nothing to compare": (lambda: metrics.iou_of(torch.zeros(3, 3)), "no pixel is left"),
    "nothing right": (lambda: metrics.accuracy_of(torch.zeros(3, 3)), "no pixel is left"),
    "all ignored": (lambda: metrics.pixel_accuracy(torch.ones(3), torch.ones(3), ignore=1), "no pixel is left"),
    "all ignored by mean_iou": (
        lambda: metrics.mean_iou(torch.ones(3), torch.ones(3), 2, ignore=1),
        "no pixel is left",
    ),
    "maps of other sizes": (
        lambda: metrics.maps_distance([torch.zeros(1, 2, 3, 4)], [torch.zeros(1, 2, 3, 5)]),
        r"\[\[1, 2, 3, 4\]\] and \[\[1, 2, 3, 5\]\] cannot",
    ),
    "no maps": (
        lambda: metrics.perceptual_maps(
            torch.zeros(1, 3, 8, 8),
            torch.zeros(1, 3, 8, 8),
            Pixels().prepare(image_data("any", torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), CPU),
        ),
        r"Pixels\(most=32\) has no feature maps; take Random\(\) or Inception\(\)",
    ),
    "small for Inception": (
        lambda: networks()["Inception()"].maps(torch.zeros(1, 3, 42, 60)),
        r"60x42.*at least 43.*take Random\(\)",
    ),
    "all missing": (lambda: biharmonic(torch.zeros(3, 8, 8), torch.ones(1, 8, 8)), "the mask covers the whole image"),
    "no maps of classes": (lambda: most_frequent_class([], 3, (4, 4)), "no map contains one of the 3 classes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_input_is_refused(name: str) -> None:
    work, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        work()
