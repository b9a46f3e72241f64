"""What is scored of runs that turn images into others: examples, trivial baselines, what is lacking, options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from likeness import (
    SIZES,
    Brightness,
    Half,
    as_input,
    examples,
    lacking,
    levels,
    noise,
    restore,
    score,
    sets,
    squares,
    trained,
    wider,
)
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import inpaint_biharmonic
from torch import Tensor, nn

from sparring.data import Form
from sparring.data.samples import image_data
from sparring.data.toys import joined
from sparring.data.whole import Whole
from sparring.degrade import Blur, Downscale, Grey, Mask, Noise
from sparring.errors import UserError
from sparring.evaluation.examples import make_examples, whole
from sparring.evaluation.likeness import LIKENESS, Examples, Outcome, usual_measures
from sparring.evaluation.measures import better, deciding_value
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import differences
from sparring.evaluation.recolour import recoloured
from sparring.evaluation.report import kept_apart
from sparring.evaluation.translated import make_tests, score_translations
from sparring.extractors import Prepared
from sparring.metrics import Estimate, colour_distance
from sparring.tasks import Contrast, Cycle, Restore, Segment, Translate
from sparring.tasks.base import Translating


def made_of(task: Restore, images: Tensor, network: nn.Module | None = None, count: int = 99, seed: int = 0) -> Any:
    data = image_data("photos", images)
    network = Half(images.shape[1], task.chain.scale) if network is None else network
    return make_examples(trained(network, task, data.form), data, data, count, seed)


def test_the_baseline_of_super_resolution_is_bicubic() -> None:
    images = noise(2, 3, 34, 29)  # of which a multiple of 4 remains
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
        assert set(example.made[:, example.mask[0]].flatten().tolist()) == {128}  # half of nothing


def test_the_baseline_of_colouring_is_grey() -> None:
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
    found = make_examples(trained(Half(3), task, train.form), train, train, 99, 0)
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
    found = make_examples(
        trained(Half(3), Segment(classes=names).for_data(train.form), train.form), train, train, 99, 0
    )
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
    found = make_examples(trained(network, Cycle().for_data(data.form), data.form), data, data, 99, 0)
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
    found = make_examples(trained(network, Cycle().for_data(grey.form), grey.form), grey, grey, 99, 0)
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
    found = make_examples(trained(Half(3), task, data.form), data, data, 99, 0)
    assert [tuple(example.made.shape[1:]) for example in found] == list(SIZES)
    assert [tuple(example.truth.shape[1:]) for example in found if example.truth is not None] == list(SIZES)
    assert set(whole(data, 1)) == {"real"}


# ------------------------------------------------------------------------------------------------------ what is lacking

PAIRED = Form((3, 16, 16), source=Form((3, 16, 16)))
ALWAYS = {"frechet", "kernel_distance", "edges"}
BY_PAIRS = {"psnr", "ssim", "l1", "perceptual", "colours"}


def kinds() -> dict[str, tuple[Examples, set[str]]]:
    """Examples of each kind of task, and the scores that are possible there."""
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
        "an extractor that cannot tell": (examples(cut, images, None, tests=two), ALWAYS),
    }


@pytest.mark.parametrize("kind", kinds())
def test_what_is_lacking(kind: str) -> None:
    found, there = kinds()[kind]
    assert {name for name in LIKENESS if not lacking(found, name)} == there
    for name in there:
        assert LIKENESS[name].compute(Outcome(found, "made")), name


def test_what_is_lacking_is_said() -> None:
    found = {kind: found for kind, (found, _) in kinds().items()}
    large, small = list(noise(2, 3, 32, 32)), list(noise(2, 3, 8, 8))
    grey = [image[:1] for image in large]
    found["grey"] = examples(restore(Noise(), shape=(1, 32, 32)), grey, grey)
    found["larger"] = examples(restore(Downscale(4)), large, large, sources=small)
    lacks = {
        ("psnr", "cycle"): "pairs",
        ("psnr", "segment"): "images, not maps of classes",
        ("frechet", "segment"): "images, not maps of classes",
        ("psnr_hole", "restore"): "a task with a mask",
        ("mean_iou", "translate"): "maps of classes",
        ("taken_for_target", "translate"): "two sets without pairs",
        ("taken_for_target", "an extractor that cannot tell"): "leave --extractor out",
        ("cycle_l1", "cut"): "a generator for the way back",
        ("edges", "segment"): "images, not maps of classes",
        ("edges", "larger"): "sources of the size of what is made",
        ("colours", "grey"): "images in colour",
        ("colours", "cycle"): "pairs",
    }
    for (name, kind), text in lacks.items():
        assert text in lacking(found[kind], name), (name, kind)


def test_names_of_scores() -> None:
    task = Segment()
    assert usual_measures(task, ["usual"]) == ["mean_iou", "pixel_accuracy"]
    assert usual_measures(task, ["pixel_accuracy", "usual"]) == ["pixel_accuracy", "mean_iou"]
    assert set(usual_measures(task, ["all"])) == set(LIKENESS)
    with pytest.raises(UserError, match="memorising is not for runs that turn images into others"):
        usual_measures(task, ["memorising"])


@pytest.mark.parametrize("task", [Translate(), Cycle(), Contrast(), Segment(), restore(Noise()), restore(Grey())])
def test_each_usual_score_has_a_direction(task: Translating) -> None:
    for name in task.scores:
        assert name in LIKENESS
        for value, way in LIKENESS[name].better.items():
            assert better(value) == better(f"{value}_baseline") == way != 0


# ------------------------------------------------------------------------------------------------------------- options


def test_options() -> None:
    assert Options().reference == "train"
    assert Options(split="test").reference == "test"
    assert Options("psnr, ssim").named == ["psnr", "ssim"]
    assert deciding_value("ssim,psnr") == "ssim"
    for wrong, text in (
        ({"metrics": "psnrr"}, "did you mean 'psnr'"),
        ({"metrics": ","}, "no metric is named"),
        ({"split": "all"}, "split"),
        ({"count": 1}, "count=1"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(UserError, match=text):
            Options(**wrong)


def test_the_test_images_are_those_that_are_wanted() -> None:
    train, held_out = image_data("photos", noise(3, 3, 8, 8)), image_data("photos", noise(2, 3, 8, 8))
    assert make_tests(train, held_out, Options()).images is held_out
    assert make_tests(train, held_out, Options(split="train")).images is train
    assert make_tests(train, held_out, Options(split="test")).images is held_out
    assert make_tests(train, None, Options()).images is train
    with pytest.raises(UserError, match="'photos' has no held-out images"):
        make_tests(train, None, Options(split="test"))


# ------------------------------------------------------------------------------------------------- score by score


def scored(task: Restore, images: Tensor, **options: Any) -> Any:
    data = image_data("photos", images)
    tests = make_tests(data, None, Options(**options))
    return score_translations(trained(Half(images.shape[1], task.chain.scale), task, data.form), tests, "a run", True)


def test_scores_of_run_and_baseline_with_their_protocol() -> None:
    images = noise(4, 3, 48, 48)
    scores, found = scored(restore(Downscale(4)), images, count=3)
    assert list(scores.asked) == ["psnr", "ssim", "perceptual", "frechet"]
    assert list(scores.values) == [name + end for name in scores.asked for end in ("", "_baseline")]
    for name in scores.asked:
        for which, end in (("made", ""), ("baseline", "_baseline")):
            value = score(found, name, which)
            assert scores.values[name + end] == (value.value if isinstance(value, Estimate) else value)
    assert scores.errors["psnr"] == score(found, "psnr").error
    assert (scores.step, scores.protocol.count, scores.protocol.reference) == (3, 3, 3)
    assert scores.protocol.ema is True
    assert scores.protocol.extractor == "Random(seed=0)"
    assert scores.notes[0] == "the baseline: bicubic interpolation"
    assert any(note.startswith("CAREFUL: these are training images") for note in scores.notes)
    assert any(note.startswith("CAREFUL: 3 images or patches are few for a Frechet") for note in scores.notes)
    plain, _ = scored(restore(Downscale(4)), images, metrics="psnr")
    assert plain.protocol.extractor == "none", "nothing looked at the images"


def left_out(name: str, task: Restore, images: Tensor, reason: str, extractor: str = "auto") -> None:
    """A usual score that does not fit is left out with a note; named, it is a mistake."""
    scores, _ = scored(task, images, extractor=extractor)
    assert name in scores.asked
    assert scores.values
    assert not any(value.startswith(name) for value in scores.values)
    (note,) = (note for note in scores.notes if note.startswith(f"{name} left out: "))
    assert reason in note
    with pytest.raises(UserError, match=f"^{name}: .*{reason}"):
        scored(task, images, metrics=f"psnr,{name}", extractor=extractor)


def test_a_score_that_does_not_fit_the_images_is_left_out() -> None:
    left_out("ssim", restore(Downscale(4)), noise(3, 3, 16, 16), "8x8 are smaller than the window")
    left_out("frechet", restore(Noise()), noise(1, 3, 48, 48), "1 samples are too few")
    left_out("perceptual", restore(Noise()), noise(3, 3, 48, 48), "shows no maps", extractor="Pixels(most=4)")
    with pytest.raises(UserError, match="colours cannot be computed of a run: it needs images in colour"):
        scored(restore(Noise(), shape=(1, 48, 48)), noise(3, 1, 48, 48), metrics="colours")
    with pytest.raises(UserError, match=r"a run cannot be scored: the baseline: bicubic.*ssim left out"):
        scored(restore(Downscale(4)), noise(1, 3, 8, 8), extractor="Pixels(most=4)")


def test_colours_of_images_of_several_sizes() -> None:
    images = [noise(1, 3, *size)[0] for size in SIZES]
    found = examples(restore(Grey()), [image // 2 for image in images], images)
    flat = [
        torch.cat([image.flatten(1) for image in kind], 1)[None, :, None] for kind in (images, found.images("made"))
    ]
    assert score(found, "colours") == pytest.approx(colour_distance(*flat), rel=1e-9)


def translated_sets(a: Tensor, b: Tensor, **options: Any) -> Any:
    data = sets(a, b)
    network = nn.ModuleDict({"there": Half(b.shape[1]), "back": Half(a.shape[1])})
    generator = trained(network, Cycle().for_data(data.form), data.form)
    return score_translations(generator, make_tests(data, None, Options(**options)), "a run", False)


def test_two_sets_of_different_shapes_are_scored_without_a_classifier() -> None:
    scores, found = translated_sets(noise(4, 1, 16, 16), noise(4, 3, 16, 16, seed=1))
    assert found.extractor.name == "Random(seed=0)"
    assert {"frechet", "kernel_distance", "edges", "cycle_l1"} <= set(scores.values)
    assert "taken_for_target left out: it needs two sets of images of one shape" in scores.notes
    assert "cycle_l1_baseline" not in scores.values
    with pytest.raises(UserError, match="taken_for_target cannot be computed of a run: it needs two sets of images"):
        translated_sets(noise(4, 1, 16, 16), noise(4, 3, 16, 16), metrics="taken_for_target")


def test_images_of_several_sizes_are_judged_one_by_one() -> None:
    judge = Prepared("brightness", Brightness(), "1", classes=2, labels=True)
    made = [torch.full((1, *size), 250, dtype=torch.uint8) for size in SIZES]
    assert score(examples(Contrast(), made, None, prepare=lambda data: judge), "taken_for_target").value == 1


def test_real_pieces_are_looked_at_once() -> None:
    looks = []

    class Counted(Brightness):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            looks.append(images)
            features, logits = super().forward(images)
            return torch.cat([features, images.flatten(1)[:, :3]], 1), logits

    images = noise(5, 3, 16, 16)
    found = examples(
        restore(Noise()), list(images // 2), list(images), prepare=lambda data: Prepared("count", Counted(), "1")
    )
    for which in ("made", "baseline"):
        outcome = Outcome(found, which)
        for name in ("frechet", "kernel_distance"):
            LIKENESS[name].compute(outcome)
    assert len(looks) == 3


def test_grey_photos_have_no_psnr_to_be_coloured_by() -> None:
    images = noise(3, 3, 24, 24)
    images[1] = images[1, :1]
    scores, found = scored(restore(Grey()), images)
    decibels = [peak_signal_noise_ratio(wider(images[i]), wider(found.all[i].made), data_range=255) for i in (0, 2)]
    assert scores.values["psnr"] == pytest.approx(np.mean(decibels), rel=1e-4)
    assert all(np.isfinite(value) for value in [*scores.values.values(), *scores.errors.values()])
    assert any(note.startswith("psnr without 1 of 3 images") for note in scores.notes)
    left_out("psnr", restore(Grey()), images[1:2].expand(3, -1, -1, -1).contiguous(), "so that it is infinite")


def test_grey_photos_have_no_psnr_of_holes_either() -> None:
    flat = torch.full((2, 3, 24, 24), 128, dtype=torch.uint8)  # as holes are, and as half of nothing is
    images = torch.cat([flat, noise(2, 3, 24, 24)])
    scores, _ = scored(restore(Mask("centre", size=9)), images, metrics="psnr_hole")
    assert all(np.isfinite(value) for value in scores.values.values())
    assert any(note.startswith("psnr_hole without 2 of 4 images") for note in scores.notes)


def test_the_baseline_of_sets_of_different_channels() -> None:
    a, b = noise(3, 3, 12, 12), noise(3, 1, 12, 12)
    _, found = translated_sets(a, b, metrics="edges")
    for example, image in zip(found.all, a):
        grey = np.array(Image.fromarray(wider(image)).convert("L"))
        np.testing.assert_allclose(example.baseline[0].numpy(), grey, atol=1)


def larger(samples: Tensor) -> Whole:
    """Images whose upper left corners are the samples."""
    return Whole(tuple(image.repeat(1, 2, 3) for image in samples))


@pytest.mark.parametrize("patches", [False, True])
def test_test_images_are_given_in_the_runs_channels(patches: bool) -> None:
    grey, colours = image_data("grey", noise(3, 1, 12, 12)), image_data("colours", noise(3, 3, 12, 12))
    if patches:
        grey, colours = (replace(data, whole=larger(data.samples)) for data in (grey, colours))
    same = recoloured(grey, colours)
    assert same.form.shape == (3, 12, 12)
    assert torch.equal(same.samples, grey.samples.expand(-1, 3, -1, -1))
    assert torch.equal(same.image(1), grey.image(1).expand(3, -1, -1))
    light = recoloured(colours, grey)
    assert light.form.shape == (1, 12, 12)
    wanted = np.stack([np.array(Image.fromarray(wider(image)).convert("L")) for image in colours.samples])
    np.testing.assert_allclose(light.samples[:, 0].int().numpy(), wanted.astype(int), atol=1)
    assert torch.equal(light.image(2)[:, :12, :12], light.samples[2])
    assert light.image(2).shape == (1, *colours.image(2).shape[1:])
    assert recoloured(grey, grey) is grey


def test_sources_are_given_in_the_runs_channels() -> None:
    maps = image_data("maps", noise(3, 1, 12, 12) % 2)
    maps = replace(maps, form=replace(maps.form, classes=("a", "b"), map=True))
    grey, colours = (joined("pairs", image_data("x", noise(3, n, 12, 12)), maps, paired=True) for n in (1, 3))
    found = recoloured(grey, colours)
    assert found.source is not None
    assert found.form == colours.form
    assert torch.equal(found.samples, maps.samples)
    assert torch.equal(found.source.samples[:, 2], noise(3, 1, 12, 12)[:, 0])
    with pytest.raises(UserError, match=r"odd holds samples of shape \[2, 12, 12\], x of shape \[3, 12, 12\]"):
        recoloured(image_data("odd", noise(3, 2, 12, 12)), image_data("x", noise(3, 3, 12, 12)))


def test_scores_of_other_degradations_are_kept_apart() -> None:
    images = noise(3, 3, 24, 24)
    ways: list[tuple[Any, int]] = [
        (Noise(25), 0),
        (Noise(25), 0),
        (Noise(50), 0),
        (Mask("random"), 0),
        (Mask("random"), 1),
    ]
    found = [scored(restore(way), images, metrics="l1", seed=seed)[0] for way, seed in ways]
    assert [len(group) for group in kept_apart(found)] == [2, 1, 1, 1]
    assert differences(found[0].protocol, found[2].protocol) == [
        "degradation Noise(sigma=25), seed 0 and Noise(sigma=50), seed 0"
    ]
    assert "degraded by Noise(sigma=25), seed 0;" in found[0].protocol.describe()
    both, _ = scored(restore(Blur(2), Downscale(2)), images, metrics="l1")
    assert both.protocol.degradation.startswith("(Blur(")
    assert "Downscale(factor=2" in both.protocol.degradation
    pairs, _ = translated_sets(images, images, metrics="edges")
    assert pairs.protocol.degradation == ""
    assert "degraded" not in pairs.protocol.describe()
