"""Scoring of image-to-image runs: examples, trivial baselines, requirements of metrics, options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from similarity import (
    SIZES,
    Brightness,
    Half,
    as_input,
    examples,
    levels,
    missing,
    noise,
    prepare_random,
    restore,
    rows,
    sets,
    squares,
    trained,
    wider,
)
from skimage.restoration import inpaint_biharmonic
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.samples import Data, image_data, joined
from sparring.data.store.whole import Whole
from sparring.evaluation.examples import Outcome, make_examples, whole
from sparring.evaluation.options import Options, better, deciding_value, metric_names
from sparring.evaluation.similarity import SIMILARITY
from sparring.evaluation.translated import Translated
from sparring.metrics.extractors import Prepared
from sparring.tasks import Contrast, Cycle, Restore, Segment, Translate
from sparring.tasks.base import Translating
from sparring.tasks.degrade import Blur, Downscale, Grey, Mask, Noise


def made_of(task: Restore, images: Tensor, network: nn.Module | None = None, count: int = 99, seed: int = 0) -> Any:
    data = image_data("photos", images)
    network = Half(images.shape[1], task.chain.scale) if network is None else network
    return made_by(network, task, data, count, seed)


def made_by(network: nn.Module, task: Any, data: Data, count: int = 99, seed: int = 0) -> Any:
    found = make_examples(task, data, data, count, seed, prepare_random)
    return rows(found.outcome(trained(network, task, data.form)))


def test_the_baseline_of_super_resolution_is_bicubic() -> None:
    images = noise(2, 3, 34, 29)  # cropped to multiples of 4
    for example, image in zip(made_of(restore(Downscale(4)), images), images):
        assert example.truth is not None
        assert torch.equal(example.truth, image[:, :32, :28])
        assert example.source.shape == (3, 8, 7)
        assert example.made.shape == (3, 32, 28)
        small = Downscale(4)(as_input(image[None, :, :32, :28])).source[0].numpy()
        large = [np.array(Image.fromarray(c).resize((28, 32), Image.Resampling.BICUBIC)) for c in small]
        np.testing.assert_allclose(example.baseline.numpy(), levels(np.stack(large)), atol=1)


def test_the_baseline_of_inpainting_is_biharmonic_and_known_pixels_stay() -> None:
    images = noise(2, 3, 24, 24) // 4 + 90
    for example, image in zip(made_of(restore(Mask("centre", size=6)), images), images):
        hole = np.zeros((24, 24), dtype=bool)
        hole[9:15, 9:15] = True
        assert example.mask is not None
        assert np.array_equal(example.mask[0].numpy(), hole)
        damaged = np.where(hole, 0.0, as_input(image).double().numpy())
        wanted = levels(inpaint_biharmonic(damaged, hole, channel_axis=0))
        np.testing.assert_allclose(example.baseline.numpy(), wanted, atol=1)
        for made in (example.made, example.baseline):
            assert torch.equal(made[:, ~example.mask[0]], image[:, ~example.mask[0]])
        assert set(example.made[:, example.mask[0]].flatten().tolist()) == {128}  # the network halves a hole of zeros


def test_the_baseline_of_colourising_is_grey() -> None:
    images = noise(2, 3, 24, 24)
    for example, image in zip(made_of(restore(Grey()), images), images):
        grey = np.array(Image.fromarray(wider(image)).convert("L"))
        assert example.baseline.shape == (3, 24, 24)
        assert all(torch.equal(channel, example.baseline[0]) for channel in example.baseline)
        np.testing.assert_allclose(example.baseline[0].numpy(), grey, atol=1)


def test_the_baseline_of_other_restorations_is_the_degraded_image() -> None:
    images = noise(2, 3, 24, 24)
    for example in made_of(restore(Blur(2)), images):
        assert torch.equal(example.baseline, example.source)
        assert not torch.equal(example.baseline, example.truth)


def test_the_baseline_of_pairs_is_the_mean_training_image() -> None:
    targets, sources = noise(5, 3, 12, 12), noise(5, 1, 12, 12, seed=1)
    train = joined("pairs", image_data("a", sources), image_data("b", targets), paired=True)
    task = Translate().for_data(train.form)
    found = made_by(Half(3), task, train)
    wanted = targets.double().mean(0).round().numpy()
    for example, target, source in zip(found, targets, sources):
        np.testing.assert_allclose(example.baseline.numpy(), wanted, atol=1)
        assert example.truth is not None
        assert torch.equal(example.truth, target)
        assert torch.equal(example.source, source)
        np.testing.assert_allclose(example.made[0].numpy(), levels(np.tanh(0.5 * as_input(source[0]).numpy())), atol=1)


def test_the_baseline_of_segmentation_is_the_most_frequent_class_of_training() -> None:
    maps = (noise(7, 1, 6, 5) % 4 + 1).clamp(max=2)  # most are of the last class
    maps[:, :, 0, 0] = 255
    names = ("a", "b", "c")
    target = image_data("maps", maps)
    target = replace(target, form=replace(target.form, classes=names, map=True))
    train = joined("pairs", image_data("images", noise(7, 3, 6, 5, seed=1)), target, paired=True)
    found = made_by(Half(3), Segment(classes=names).for_data(train.form), train)
    counts = np.stack([(maps.numpy()[:, 0] == c).sum(0) for c in range(3)])
    wanted = counts.argmax(0)
    wanted[0, 0] = counts.sum((1, 2)).argmax()
    for example, stored in zip(found, maps):
        assert np.array_equal(example.baseline[0].numpy(), wanted)
        assert example.truth is not None
        assert torch.equal(example.truth, stored), "255 stays"


def test_the_baseline_of_two_sets_is_no_change() -> None:
    a, b = noise(5, 3, 12, 12), noise(3, 3, 12, 12, seed=1)
    data = sets(a, b)
    network = nn.ModuleDict({"there": Half(3), "back": Half(3, factor=2.0)})
    found = made_by(network, Cycle().for_data(data.form), data)
    assert len(found) == 5
    for example, source in zip(found, a):
        assert example.truth is None
        assert torch.equal(example.baseline, source)
        assert torch.equal(example.source, source)
        there = np.tanh(0.5 * as_input(source[:1]).numpy())
        np.testing.assert_allclose(example.made[:1].numpy(), levels(there), atol=1)
        assert example.returned is not None
        np.testing.assert_allclose(example.returned[:1].numpy(), levels(np.tanh(2 * there)), atol=1)
    grey = sets(a[:, :1], b)
    found = made_by(network, Cycle().for_data(grey.form), grey)
    assert torch.equal(found[0].baseline, a[0, :1].expand(3, -1, -1))


def test_examples_are_spread_over_the_images() -> None:
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(-1, 1, 12, 12).contiguous()
    task = restore(Noise(25), shape=(1, 12, 12))
    found = made_of(task, images, count=3)
    assert [int(example.truth[0, 0, 0]) for example in found] == [0, 3, 6]
    assert len(made_of(task, images, count=99)) == 10


def test_degradations_are_the_same_for_the_same_seed() -> None:
    images = noise(1, 1, 24, 24).expand(3, -1, -1, -1).contiguous()
    task = restore(Mask("random"), shape=(1, 24, 24))
    masks, again, others = ([e.mask for e in made_of(task, images, seed=seed)] for seed in (0, 0, 1))
    assert all(torch.equal(one, other) for one, other in zip(masks, again))
    assert not all(torch.equal(one, other) for one, other in zip(masks, others))
    assert not torch.equal(masks[0], masks[1]), "each image has its own"


def test_images_are_taken_whole() -> None:
    images = tuple(noise(1, 3, *size, seed=i)[0] for i, size in enumerate(SIZES))
    data = image_data("photos", torch.stack([image[:, :16, :16] for image in images]))
    data = replace(data, whole=Whole(images))
    task = restore(Noise(5), shape=(3, 16, 16))
    found = made_by(Half(3), task, data)
    assert [tuple(example.made.shape[1:]) for example in found] == list(SIZES)
    assert [tuple(example.truth.shape[1:]) for example in found if example.truth is not None] == list(SIZES)
    assert set(whole(data, 1)) == {"real"}


# ------------------------------------------------------------------------------------------------------ requirements

PAIRED = Form((3, 16, 16), source=Form((3, 16, 16)))
ALWAYS = {"frechet", "kernel_distance", "edges"}
BY_PAIRS = {"psnr", "ssim", "l1", "perceptual", "colours"}


def kinds() -> dict[str, tuple[Outcome, set[str]]]:
    """Outcomes of each kind of task, with the scores that are possible for them."""
    images = list(noise(3, 3, 16, 16))
    truth = [255 - image for image in images]
    maps = [image[:1] % 2 for image in images]
    form = Form((1, 16, 16), ("0", "1"), map=True, source=Form((3, 16, 16)))
    mapped = replace(image_data("maps", torch.stack(maps)), form=form)
    judge = Prepared("brightness", Brightness(), "1", classes=2, labels=True)
    cycle, cut = Cycle().for_data(PAIRED), Contrast().for_data(PAIRED)
    two = sets(torch.stack(images), torch.stack(images))
    masks = squares((2, 2, 9, 9), (2, 2, 9, 9), (2, 2, 9, 9), size=(16, 16))
    inpaint = examples(restore(Mask("centre")), images, truth, masks=masks)
    return {
        "restore": (examples(restore(Noise()), images, truth), ALWAYS | BY_PAIRS),
        "inpaint": (inpaint, ALWAYS | BY_PAIRS | {"psnr_hole"}),
        "translate": (examples(Translate().for_data(PAIRED), images, truth), ALWAYS | BY_PAIRS),
        "segment": (
            examples(Segment().for_data(form), maps, maps, sources=images, tests=mapped),
            {"mean_iou", "pixel_accuracy"},
        ),
        "cycle": (
            examples(cycle, images, None, returned=images, tests=two, prepare=lambda data: judge),
            ALWAYS | {"taken_for_target", "cycle_l1"},
        ),
        "cut": (examples(cut, images, None, tests=two, prepare=lambda data: judge), ALWAYS | {"taken_for_target"}),
        "an extractor without classes": (examples(cut, images, None, tests=two), ALWAYS),
    }


@pytest.mark.parametrize("kind", kinds())
def test_requirements_of_metrics(kind: str) -> None:
    found, possible = kinds()[kind]
    assert {name for name in SIMILARITY if not missing(found, name)} == possible
    for name in possible:
        assert SIMILARITY[name].compute(found), name


def test_unmet_requirements_are_named() -> None:
    found = {kind: found for kind, (found, _) in kinds().items()}
    large, small = list(noise(2, 3, 32, 32)), list(noise(2, 3, 8, 8))
    grey = [image[:1] for image in large]
    found["grey"] = examples(restore(Noise(), shape=(1, 32, 32)), grey, grey)
    found["larger"] = examples(restore(Downscale(4)), large, large, sources=small)
    unmet = {
        ("psnr", "cycle"): "pairs",
        ("psnr", "segment"): "images, not label maps",
        ("frechet", "segment"): "images, not label maps",
        ("psnr_hole", "restore"): "a task with masks",
        ("mean_iou", "translate"): "label maps",
        ("taken_for_target", "translate"): "two sets without pairs",
        ("taken_for_target", "an extractor without classes"): "leave --extractor out",
        ("cycle_l1", "cut"): "a generator of the reverse direction",
        ("edges", "segment"): "images, not label maps",
        ("edges", "larger"): "outputs of the size of their sources",
        ("colours", "grey"): "images in colour",
        ("colours", "cycle"): "pairs",
    }
    for (name, kind), text in unmet.items():
        assert text in missing(found[kind], name), (name, kind)


def test_names_of_scores() -> None:
    own = Segment().scores
    assert metric_names("usual", own) == ["mean_iou", "pixel_accuracy"]
    assert metric_names("pixel_accuracy,usual", own) == ["pixel_accuracy", "mean_iou"]
    assert sorted(metric_names("all", own)) == sorted(SIMILARITY)
    with pytest.raises(UserError, match="memorising is a metric of generated samples; image-to-image runs have: psnr"):
        metric_names("memorising", own)


@pytest.mark.parametrize("task", [Translate(), Cycle(), Contrast(), Segment(), restore(Noise()), restore(Grey())])
def test_each_usual_score_has_a_direction(task: Translating) -> None:
    for name in task.scores:
        assert name in SIMILARITY
        for value, direction in SIMILARITY[name].better.items():
            assert better(value) == better(f"{value}_baseline") == direction != 0


# ------------------------------------------------------------------------------------------------------------- options


def test_options() -> None:
    assert Options("psnr, ssim").named == ["psnr", "ssim"]
    assert deciding_value("ssim,psnr", ("psnr",)) == "ssim"
    for wrong, text in (
        ({"metrics": "psnrr"}, "did you mean 'psnr'"),
        ({"metrics": ","}, "no metric is named"),
        ({"split": "all"}, "split"),
        ({"count": 1}, "count=1"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(UserError, match=text):
            Options(**wrong)


def test_options_choose_the_test_images() -> None:
    task = restore(Noise())
    train, held_out = image_data("photos", noise(3, 3, 8, 8)), image_data("photos", noise(2, 3, 8, 8))
    assert Translated(task, train, Options(), held_out).tests is held_out
    assert Translated(task, train, Options(split="train"), held_out).tests is train
    assert Translated(task, train, Options(split="test"), held_out).tests is held_out
    assert Translated(task, train, Options()).tests is train
    with pytest.raises(UserError, match="'photos' has no held-out images"):
        Translated(task, train, Options(split="test"))
