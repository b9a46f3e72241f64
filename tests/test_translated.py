"""Scores of image-to-image runs: metrics left out, notes, protocols, test images with other channels."""

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
    examples,
    noise,
    restore,
    rows,
    score,
    sets,
    trained,
    wider,
)
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.data.samples import image_data, joined
from sparring.data.store.whole import Whole
from sparring.evaluation.examples import recoloured
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import differences
from sparring.evaluation.report import kept_apart
from sparring.evaluation.similarity import SIMILARITY
from sparring.evaluation.translated import Translated
from sparring.metrics import Estimate, colour_distance
from sparring.metrics.extractors import Prepared
from sparring.tasks import Contrast, Cycle, Restore
from sparring.tasks.degrade import Blur, Downscale, Grey, Mask, Noise


def scored(task: Restore, images: Tensor, **options: Any) -> Any:
    data = image_data("photos", images)
    generator = trained(Half(images.shape[1], task.chain.scale), task, data.form)
    return Translated(task, data, Options(**options)).score(generator, "a run", True)


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
    assert scores.notes[0] == "baseline: bicubic interpolation"
    assert any(note.startswith("WARNING: scored on training images") for note in scores.notes)
    assert any(note.startswith("WARNING: 3 images or patches are too few for a stable") for note in scores.notes)
    plain, _ = scored(restore(Downscale(4)), images, metrics="psnr")
    assert plain.protocol.extractor == "none", "no metric uses features"


def left_out(name: str, task: Restore, images: Tensor, reason: str, extractor: str = "auto") -> None:
    """A default metric that does not fit is left out with a note; a named one raises."""
    scores, _ = scored(task, images, extractor=extractor)
    assert name in scores.asked
    assert scores.values
    assert not any(value.startswith(name) for value in scores.values)
    (note,) = (note for note in scores.notes if note.startswith(f"{name} left out: "))
    assert reason in note
    with pytest.raises(UserError, match=f"^{name}: .*{reason}"):
        scored(task, images, metrics=f"psnr,{name}", extractor=extractor)


def test_a_score_that_does_not_fit_the_images_is_left_out() -> None:
    left_out("ssim", restore(Downscale(4)), noise(3, 3, 16, 16), "8x8 are smaller than SSIM's window")
    left_out("frechet", restore(Noise()), noise(1, 3, 48, 48), "1 samples are too few")
    left_out("perceptual", restore(Noise()), noise(3, 3, 48, 48), "no feature maps", extractor="Pixels(most=4)")
    with pytest.raises(UserError, match="colours cannot be computed for a run: it needs images in colour"):
        scored(restore(Noise(), shape=(1, 48, 48)), noise(3, 1, 48, 48), metrics="colours")
    with pytest.raises(UserError, match=r"a run cannot be scored: baseline: bicubic.*ssim left out"):
        scored(restore(Downscale(4)), noise(1, 3, 8, 8), extractor="Pixels(most=4)")


def test_colours_of_images_of_several_sizes() -> None:
    images = [noise(1, 3, *size)[0] for size in SIZES]
    found = examples(restore(Grey()), [image // 2 for image in images], images)
    flat = [torch.cat([image.flatten(1) for image in kind], 1)[None, :, None] for kind in (images, found.images)]
    assert score(found, "colours") == pytest.approx(colour_distance(*flat), rel=1e-9)


def translated_sets(a: Tensor, b: Tensor, **options: Any) -> Any:
    data = sets(a, b)
    network = nn.ModuleDict({"there": Half(b.shape[1]), "back": Half(a.shape[1])})
    task = Cycle().for_data(data.form)
    return Translated(task, data, Options(**options)).score(trained(network, task, data.form), "a run", False)


def test_two_sets_of_different_shapes_are_scored_without_a_classifier() -> None:
    scores, found = translated_sets(noise(4, 1, 16, 16), noise(4, 3, 16, 16, seed=1))
    assert found.examples.extractor.name == "Random(seed=0)"
    assert {"frechet", "kernel_distance", "edges", "cycle_l1"} <= set(scores.values)
    assert "taken_for_target left out: it needs two sets of images of one shape" in scores.notes
    assert "cycle_l1_baseline" not in scores.values
    with pytest.raises(UserError, match="taken_for_target cannot be computed for a run: it needs two sets of images"):
        translated_sets(noise(4, 1, 16, 16), noise(4, 3, 16, 16), metrics="taken_for_target")


def test_images_of_several_sizes_are_classified_one_by_one() -> None:
    classifier = Prepared("brightness", Brightness(), "1", classes=2, labels=True)
    made = [torch.full((1, *size), 250, dtype=torch.uint8) for size in SIZES]
    assert score(examples(Contrast(), made, None, prepare=lambda data: classifier), "taken_for_target").value == 1


def test_features_of_real_pieces_are_computed_once() -> None:
    inputs = []

    class Counted(Brightness):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            inputs.append(images)
            features, logits = super().forward(images)
            return torch.cat([features, images.flatten(1)[:, :3]], 1), logits

    images = noise(5, 3, 16, 16)
    found = examples(
        restore(Noise()), list(images // 2), list(images), prepare=lambda data: Prepared("count", Counted(), "1")
    )
    for outcome in (found, found.examples.baseline_outcome):
        for name in ("frechet", "kernel_distance"):
            SIMILARITY[name].compute(outcome)
    assert len(inputs) == 3


def test_grey_photos_are_left_out_of_the_psnr_of_colourising() -> None:
    images = noise(3, 3, 24, 24)
    images[1] = images[1, :1]
    scores, found = scored(restore(Grey()), images)
    decibels = [peak_signal_noise_ratio(wider(images[i]), wider(found.images[i]), data_range=255) for i in (0, 2)]
    assert scores.values["psnr"] == pytest.approx(np.mean(decibels), rel=1e-4)
    assert all(np.isfinite(value) for value in [*scores.values.values(), *scores.errors.values()])
    assert any(note.startswith("psnr leaves out 1 of 3 images") for note in scores.notes)
    left_out("psnr", restore(Grey()), images[1:2].expand(3, -1, -1, -1).contiguous(), "so its PSNR is infinite")


def test_flat_images_are_left_out_of_the_psnr_of_holes() -> None:
    flat = torch.full((2, 3, 24, 24), 128, dtype=torch.uint8)  # the value of a hole and of the network's output for it
    images = torch.cat([flat, noise(2, 3, 24, 24)])
    scores, _ = scored(restore(Mask("centre", size=9)), images, metrics="psnr_hole")
    assert all(np.isfinite(value) for value in scores.values.values())
    assert any(note.startswith("psnr_hole leaves out 2 of 4 images") for note in scores.notes)


def test_the_baseline_of_sets_of_different_channels() -> None:
    a, b = noise(3, 3, 12, 12), noise(3, 1, 12, 12)
    _, found = translated_sets(a, b, metrics="edges")
    for example, image in zip(rows(found), a):
        grey = np.array(Image.fromarray(wider(image)).convert("L"))
        np.testing.assert_allclose(example.baseline[0].numpy(), grey, atol=1)


def larger(samples: Tensor) -> Whole:
    """Images whose upper left corners are the samples."""
    return Whole(tuple(image.repeat(1, 2, 3) for image in samples))


@pytest.mark.parametrize("patches", [False, True])
def test_test_images_are_converted_to_the_runs_channels(patches: bool) -> None:
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


def test_sources_are_converted_to_the_runs_channels() -> None:
    maps = image_data("maps", noise(3, 1, 12, 12) % 2)
    maps = replace(maps, form=replace(maps.form, classes=("a", "b"), map=True))
    grey, colours = (joined("pairs", image_data("x", noise(3, n, 12, 12)), maps, paired=True) for n in (1, 3))
    found = recoloured(grey, colours)
    assert found.source is not None
    assert found.form == colours.form
    assert torch.equal(found.samples, maps.samples)
    assert torch.equal(found.source.samples[:, 2], noise(3, 1, 12, 12)[:, 0])
    with pytest.raises(UserError, match=r"odd has samples of shape \[2, 12, 12\], x \[3, 12, 12\]; give grey or RGB"):
        recoloured(image_data("odd", noise(3, 2, 12, 12)), image_data("x", noise(3, 3, 12, 12)))


def test_scores_of_other_degradations_are_kept_apart() -> None:
    images = noise(3, 3, 24, 24)
    degradations: list[tuple[Any, int]] = [
        (Noise(25), 0),
        (Noise(25), 0),
        (Noise(50), 0),
        (Mask("random"), 0),
        (Mask("random"), 1),
    ]
    found = [scored(restore(each), images, metrics="l1", seed=seed)[0] for each, seed in degradations]
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
