"""Tasks on images: terms by hand, updates of each player, image history, errors, and tiles."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import sparring
from sparring.apply import apply_tensor
from sparring.assemble.build import build_game, training_data
from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.maps import coloured
from sparring.game.game import Game
from sparring.game.losses import LeastSquares, NonSaturating
from sparring.game.match import Moment
from sparring.game.turns import Alternating, Simultaneous
from sparring.recipe import Recipe, load_recipe
from sparring.run.directory import Run
from sparring.tasks import Contrast, Cycle, Restore, Segment, Translate
from sparring.tasks.base import Translating
from sparring.tasks.contrast import patch_contrast
from sparring.tasks.history import ImageHistory
from sparring.tasks.pieces import image_of
from sparring.training.gallery import shown

SMALL = {
    "pix2pix": {"generator": "UNetGenerator(width=4)", "discriminator": "PatchDiscriminator(width=4)"},
    "cyclegan": {
        "generator": "ResNetTranslator(width=4, blocks=1)",
        "discriminator": "PatchDiscriminator(width=4)",
        "task": "Cycle(history=4)",
    },
    "cut": {"generator": "ResNetTranslator(width=4, blocks=1)", "discriminator": "PatchDiscriminator(width=4)"},
    "super-resolution": {
        "generator": "EDSRGenerator(width=4, blocks=1)",
        "discriminator": "PatchDiscriminator(width=4)",
        "size": "32",
        "adversarial": "Linear(0, 0.01, begin=0.3, finish=0.4)",
    },
    "inpaint": {
        "generator": "GatedGenerator(width=4)",
        "discriminator": "PatchDiscriminator(width=4)",
        "size": "32",
    },
    "restore": {
        "generator": "EDSRGenerator(width=4, blocks=1)",
        "discriminator": "PatchDiscriminator(width=4)",
        "size": "32",
    },
    "segment": {"generator": "UNetGenerator(width=4)", "discriminator": "PatchDiscriminator(width=4)"},
}
QUICK: dict[str, Any] = {
    "steps": 6,
    "minutes": 0.0,
    "batch_size": 2,
    "log_every": 1,
    "pictures": 2,
    "precision": "fp32",
}


class Scale(nn.Module):
    """x -> atanh(factor * x), so that the tanh which follows it gives factor * x."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: Tensor) -> Tensor:
        return torch.atanh(self.factor * images)


def tiny(name: str, **changes: Any) -> Recipe:
    return load_recipe(name).replace(**{**SMALL[name], **QUICK, **changes})


def bits(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def images(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def test_cycle_and_identity_terms_by_hand() -> None:
    form = Form((3, 8, 8), source=Form((3, 8, 8)))
    task = Cycle(cycle=10, identity=5).for_data(form)
    network = nn.ModuleDict({"there": Scale(0.5), "back": Scale(0.25)})
    a, b = images(4, 3, 8, 8), images(4, 3, 8, 8, seed=1)
    batch = {"source": a, "real": b}
    made = task.generate(network, batch)
    torch.testing.assert_close(made["fake"], 0.5 * a)
    torch.testing.assert_close(made["back"], 0.25 * b)
    found = {name: float(value) for name, value in task.extra_terms(network, batch, made).items()}
    size_a, size_b = float(a.abs().mean()), float(b.abs().mean())
    assert found == pytest.approx(
        {
            "cycle/there": 10 * (1 - 0.125) * size_a,
            "cycle/back": 10 * (1 - 0.125) * size_b,
            "identity/there": 5 * (1 - 0.5) * size_b,
            "identity/back": 5 * (1 - 0.25) * size_a,
        },
        rel=1e-5,
    )


def adversarial_term() -> float:
    """The generator's `LeastSquares` loss for a logit of -1."""
    return float(LeastSquares().generator(None, torch.tensor(-1.0)))


def test_default_weights_of_cycle_are_the_published_ones_for_least_squares() -> None:
    task = Cycle().for_data(form := Form((3, 8, 8), source=Form((3, 8, 8))))
    network = nn.ModuleDict({"there": Scale(0.5), "back": Scale(0.25)})
    batch = {"source": images(4, *form.shape), "real": images(4, *form.shape, seed=1)}
    found = task.extra_terms(network, batch, task.generate(network, batch))
    published = {
        "cycle/there": 10 * 0.875,
        "cycle/back": 10 * 0.875,
        "identity/there": 5 * 0.5,
        "identity/back": 5 * 0.75,
    }
    for name, term in found.items():
        size = batch["source" if name in ("cycle/there", "identity/back") else "real"].abs().mean()
        ratio = float(term.detach() / size) / adversarial_term()
        assert ratio == pytest.approx(published[name] / (-1 - 1) ** 2), name
    assert load_recipe("cyclegan").task == "Cycle(cycle=10, identity=2)"  # its loss has no factor of 1/2


def test_default_weights_of_contrast_are_the_published_ones_for_least_squares() -> None:
    recipe = tiny("cut")
    game = build_game(recipe, form := Form((3, 32, 32), source=Form((3, 32, 32))), torch.device("cpu"))
    network, batch = game.generator.network, {"source": images(1, *form.shape), "real": images(1, *form.shape, seed=1)}
    made = {"fake": image_of(network, batch["source"])}

    def terms(**weights: float) -> dict[str, float]:
        torch.manual_seed(0)  # of the compared patches
        return {k: float(v.detach()) for k, v in Contrast(**weights).extra_terms(network, batch, made).items()}

    plain = terms(contrast=1, identity=1)
    assert repr(game.loss) == "LeastSquares(real_target=1.0, fake_target=0.0)"
    assert game.task == Contrast().for_data(form)
    for name, term in terms().items():
        published = 0.5 * plain[name] / (-1 - 1) ** 2
        assert term / adversarial_term() == pytest.approx(published), name


def test_patch_contrast_by_hand() -> None:
    queries = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])  # of length 1: the unit vectors
    keys = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    root = 0.5**0.5
    logits = torch.tensor([[1.0, root], [0.0, root]]) / 0.5
    wanted = F.cross_entropy(logits, torch.tensor([0, 1]))
    assert float(patch_contrast(queries, keys, 0.5)) == pytest.approx(float(wanted))


def test_segmentation_ignores_pixels_without_a_class() -> None:
    form = Form((1, 1, 4), ("a", "b"), map=True, source=Form((3, 1, 4)))
    task = Segment(classes=("a", "b")).for_data(form)
    real = form.to_input(torch.tensor([[[[0, 1, 1, 255]]]], dtype=torch.uint8))
    scores = torch.tensor([[[[2.0, 0.0, 1.0, 9.0]], [[0.0, 0.0, 3.0, 0.0]]]])
    batch = {"source": torch.zeros(1, 3, 1, 4), "real": real}
    made = {"fake": scores.softmax(1), "scores": scores}
    found = task.extra_terms(nn.Identity(), batch, made)["cross_entropy"]
    wanted = F.cross_entropy(scores[0, :, 0, :3].T, torch.tensor([0, 1, 1]))
    assert float(found) == pytest.approx(float(wanted))
    match = task.matches(nn.Conv2d(2, 1, 1), batch, made)["adversarial"]
    assert float(match.fake[..., 3].abs().sum()) == 0, "D receives 0 at pixels without a class"


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_turn_changes_only_its_player(name: str, tmp_path: Path) -> None:
    run = sparring.train(tiny(name, steps=1, doctor="off", adversarial="1"), out=tmp_path / "run")
    recipe, (_, form) = Run.open(run).read_recipe(), Run.open(run).read_data()
    game = build_game(recipe, form, torch.device("cpu"))
    batch = batch_of(game, form)
    networks = {"generator": game.generator.network, "discriminator": game.discriminator.network}
    for side, other in (("generator", "discriminator"), ("discriminator", "generator")):
        before = {name: bits(network) for name, network in networks.items()}
        for _ in range(2):  # parameters that start at 0 block other gradients in the first turn
            game.take_turn(side, [batch], Moment(progress=0.5))  # type: ignore[arg-type]
        assert not changed(networks[other], before[other])
        moved = changed(networks[side], before[side])
        parts = {n.split(".")[0] for n, _ in networks[side].named_parameters()}
        assert parts == {n.split(".")[0] for n in moved}, "each of the player's networks"
        assert all(not p.requires_grad for network in networks.values() for p in network.parameters())


def batch_of(game: Game, form: Form, count: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = {"real": images(count, *form.input_shape)}
    if form.map:
        batch["real"] = form.to_input(torch.randint(len(form.classes), (count, *form.shape), dtype=torch.uint8))
    if form.source is not None:
        batch["source"] = images(count, *form.source.input_shape, seed=1)
    return dict(game.task.prepare(batch, generator))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_named_recipes_train_and_resume_to_the_bit(name: str, tmp_path: Path) -> None:
    whole = sparring.train(tiny(name), out=tmp_path / "whole")
    half = sparring.train(tiny(name), out=tmp_path / "half", until=0.5)
    sparring.resume(half)
    one, other = (sorted((run / "checkpoints").glob("*.safetensors"))[-1].read_bytes() for run in (whole, half))
    assert one == other
    assert (whole / "samples" / "step-000000006.png").exists()
    assert "step-000000006.png" in (whole / "summary.md").read_text()


def test_known_pixels_are_kept_bit_by_bit() -> None:
    form = Form((3, 16, 16))
    task = sparring.assemble.build.make(
        "Restore(degrade=Mask('random'))", sparring.tasks, sparring.tasks.degrade
    ).for_data(form)
    batch = task.prepare({"real": images(3, 3, 16, 16)}, torch.Generator().manual_seed(0))
    made = task.generate(nn.Conv2d(4, 3, 1), batch)["fake"]
    known = (batch["mask"] == 0).expand_as(made)
    assert torch.equal(made[known], batch["real"][known])
    assert not torch.isclose(made[~known], batch["real"][~known]).any()


def test_the_discriminator_receives_earlier_images() -> None:
    history, numbers = ImageHistory(3), count()
    torch.manual_seed(0)

    def turn() -> tuple[list[float], list[float]]:
        fresh = torch.tensor([float(next(numbers)), float(next(numbers))]).view(2, 1, 1, 1)
        shown = history.replace({"fake": fresh}, ("fake",))
        history.observe({}, LeastSquares(), 2, [shown])
        return fresh.flatten().tolist(), shown["fake"].flatten().tolist()

    assert turn() == ([0, 1], [0, 1])
    assert turn() == ([2, 3], [2, 3]), "new images until the history is full"
    assert history.memory["fake"].flatten().tolist() == [0, 1, 2]
    old = 0
    for _ in range(200):
        held = history.memory["fake"].flatten().tolist()
        fresh, shown = turn()
        now = history.memory["fake"].flatten().tolist()
        assert len(now) == 3
        for new, seen in zip(fresh, shown):
            assert seen in (new, *held)
            old += seen != new
        assert set(now) <= {*held, *fresh}
        assert all(new not in now for new, seen in zip(fresh, shown) if seen == new), (
            "new images that D received are not stored"
        )
    assert 160 < old < 240, "half of 400; four deviations are 40"


@pytest.mark.slow
def test_history_is_in_checkpoints_and_needs_alternating_turns(tmp_path: Path) -> None:
    run = sparring.train(tiny("cyclegan"), out=tmp_path / "run")
    from sparring.assemble.state import find_checkpoint
    from sparring.run import checkpoint

    saved = checkpoint.load(Run.open(run).checkpoints, find_checkpoint(Run.open(run)))
    (kept,) = (tensor for name, tensor in saved.items() if name.endswith("ImageHistory/fake"))
    assert kept.shape[0] == 4
    with pytest.raises(UserError, match="history=0"):
        sparring.train(tiny("cyclegan", turns="Simultaneous()"), out=tmp_path / "other")


def test_without_adversarial_loss_the_discriminator_is_not_trained(tmp_path: Path) -> None:
    run = sparring.train(tiny("pix2pix", adversarial="0"), out=tmp_path / "run")
    recipe, (_, form) = Run.open(run).read_recipe(), Run.open(run).read_data()
    start = build_game(recipe, form, torch.device("cpu"))
    from sparring.assemble.state import find_checkpoint
    from sparring.run import checkpoint
    from sparring.run.checkpoint import under

    saved = checkpoint.load(Run.open(run).checkpoints, find_checkpoint(Run.open(run)))
    assert not changed(start.discriminator.network, under("discriminator", saved))
    assert changed(start.generator.network, under("generator", saved))
    (row, *_) = Run.open(run).rows()
    assert "accuracy" not in row
    assert row["term/generator/l1"] > 0


@pytest.mark.slow
def test_the_weight_applies_to_the_adversarial_term_and_is_removed_in_the_log(tmp_path: Path) -> None:
    rows = {}
    for weight in ("1", "0.25"):
        run = sparring.train(tiny("pix2pix", adversarial=weight, steps=1), out=tmp_path / weight)
        rows[weight] = Run.open(run).rows()[0]
    assert rows["1"]["loss/generator"] == pytest.approx(rows["0.25"]["loss/generator"])
    game = build_game(
        tiny("pix2pix", adversarial="0.25"), Form((1, 16, 16), source=Form((1, 16, 16))), torch.device("cpu")
    )
    batch = batch_of(game, Form((1, 16, 16), source=Form((1, 16, 16))))
    outcome = game.generator_outcome(batch, Moment())
    match = outcome.matches["adversarial"]
    wanted = 0.25 * NonSaturating().generator(None, match.fake_logits).mean()
    torch.testing.assert_close(outcome.terms["adversarial"], wanted)


@pytest.mark.slow
def test_a_schedule_starts_the_adversarial_loss_later(tmp_path: Path) -> None:
    rows = Run.open(sparring.train(tiny("super-resolution", steps=10), out=tmp_path / "run")).rows()
    assert ["accuracy" in row for row in rows] == [row["progress"] > 0.45 for row in rows]


def test_every_scale_of_a_discriminator_has_a_match() -> None:
    recipe = tiny("pix2pix", discriminator="PatchDiscriminator(width=4, scales=2)", penalties="PairedFeatureMatching()")
    form = Form((3, 64, 64), source=Form((1, 64, 64)))
    game = build_game(recipe, form, torch.device("cpu"))
    turns = Alternating()(game, lambda: [batch_of(game, form)], Moment())
    assert {"adversarial/0", "adversarial/1", "l1"} < set(turns["generator"].terms)
    assert any("PairedFeatureMatching" in name for name in turns["generator"].terms)


@pytest.mark.parametrize(("scales", "layers"), [(1, 3), (2, 3), (1, 1), (2, 2)])
def test_feature_matching_of_pairs_equals_pix2pixhd(scales: int, layers: int) -> None:
    discriminator = f"PatchDiscriminator(width=4, scales={scales}, layers={layers})"
    recipe = tiny("pix2pix", discriminator=discriminator, penalties="PairedFeatureMatching()")
    form = Form((3, 64, 64), source=Form((1, 64, 64)))
    game = build_game(recipe, form, torch.device("cpu"))
    batch = batch_of(game, form)
    terms = game.generator_outcome(batch, Moment()).terms
    found = sum(float(value) for name, value in terms.items() if name.endswith("PairedFeatureMatching"))
    fake = game.task.generate(game.generator.network, batch)["fake"]
    wanted = 0.0  # lambda_feat * D_weights * feat_weights * L1, summed over layers and scales
    for critic in game.discriminator.network.critics():  # type: ignore[operator, union-attr]
        shown = [critic.judge(images, batch["source"]).layers for images in (fake, batch["real"])]
        assert len(shown[0]) == layers + 1
        wanted += sum(10 * (1 / scales) * (4 / (layers + 1)) * float(F.l1_loss(*pair)) for pair in zip(*shown))
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_a_translator_draws_no_samples(tmp_path: Path) -> None:
    run = sparring.train(tiny("pix2pix", steps=1), out=tmp_path / "run")
    with pytest.raises(UserError, match="sparring apply"):
        sparring.load(run).sample(3)


def test_a_task_rejects_data_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="images"):
        Translate().for_data(Form((2,)))
    with pytest.raises(UserError, match="name at least two"):
        Segment(classes=("one",))
    with pytest.raises(UserError, match="pixel=-1"):
        Restore(pixel=-1)
    with pytest.raises(UserError, match="ResNetTranslator"):
        Contrast().for_data(Form((3, 32, 32), source=Form((3, 32, 32)))).build_generator(
            lambda context, given: nn.Identity()
        )
    assert all(issubclass(kind, Translating) for kind in (Contrast, Cycle, Restore, Segment, Translate))
    assert replace(Restore(), pixel=2.0) == Restore(pixel=2.0)
    with pytest.raises(UserError, match="history"):
        Simultaneous()(build_game(tiny("cyclegan"), CYCLE, torch.device("cpu")), lambda: [{}], Moment())


CYCLE = Form((1, 16, 16), source=Form((1, 16, 16)))


@pytest.mark.slow
def test_a_run_starts_from_another_runs_weights_and_generators_can_be_blended(tmp_path: Path) -> None:
    first = sparring.train(tiny("restore", adversarial="0", ema=""), out=tmp_path / "first")
    second = sparring.train(tiny("restore", start=str(first), ema="", seed=1), out=tmp_path / "second")
    one, begun, two = (
        sparring.load(run, checkpoint=step) for run, step in ((first, "6"), (second, "0"), (second, "6"))
    )
    assert not changed(begun.network, bits(one.network))
    mixed = one.blended(two, share=0.25).network.state_dict()
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(mixed[name], 0.75 * tensor + 0.25 * two.network.state_dict()[name])
    with pytest.raises(UserError, match="share=2"):
        one.blended(two, share=2)
    with pytest.raises(UserError, match="another generator"):
        sparring.train(tiny("restore", start=str(first), generator="UNetGenerator(width=5)"), out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "generator"),
    [
        ("super-resolution", "EDSRGenerator(width=4, blocks=1)"),
        ("restore", "UNetGenerator(width=4, depth=3, norm='none')"),
        ("inpaint", "GatedGenerator(width=4, blocks=1)"),
    ],
)
def test_tiles_equal_the_whole_image(name: str, generator: str, tmp_path: Path) -> None:
    trained = sparring.load(sparring.train(tiny(name, generator=generator), out=tmp_path / "run"))
    translator = trained.translator_of()
    source = images(1, translator.source.shape[0], 150, 170)
    mask = (torch.rand(1, 1, 150, 170) < 0.3).float() if translator.wants_mask else None
    whole = apply_tensor(translator, source, mask, tile=1000)
    torch.testing.assert_close(apply_tensor(translator, source, mask, tile=64), whole, rtol=0, atol=1e-5)


def test_without_adversarial_loss_nothing_is_unrolled(tmp_path: Path) -> None:
    recipe = tiny("segment", turns="Unrolled(depth=2)", adversarial="Linear(0, 1, begin=0.5, finish=0.6)", doctor="off")
    rows = Run.open(sparring.train(recipe, out=tmp_path / "run")).history()
    shares = {row["progress"]: "accuracy" in row for row in rows if "term/generator/cross_entropy" in row}
    assert len(shares) == QUICK["steps"]
    assert [adversarial_active for _, adversarial_active in sorted(shares.items())] == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("pix2pix", {"generator": "DCGANGenerator()"}),
        ("pix2pix", {"generator": "MLPGenerator()"}),
        ("pix2pix", {"generator": "ResNetGenerator()"}),
        ("super-resolution", {"generator": "R3GANGenerator()"}),
    ],
)
def test_generators_of_noise_are_refused(name: str, changes: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="samples from noise, and this task translates images"):
        sparring.train(tiny(name, **changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_generators_of_images_make_nothing_of_noise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="UNetGenerator translates images, and this task generates samples from noise"):
        sparring.train("digits", out=tmp_path / "run", generator="UNetGenerator(width=4)")


def test_penalties_on_pairs_need_pairs(tmp_path: Path) -> None:
    for penalty in ("Perceptual", "PairedFeatureMatching"):
        with pytest.raises(UserError, match=f"{penalty} needs pairs of generated image and target"):
            sparring.train(tiny("cyclegan", penalties=f"{penalty}()"), out=tmp_path / "run")


@pytest.mark.slow
def test_a_penalty_without_critic_applies_once_for_all_scales(tmp_path: Path) -> None:
    changes = {"penalties": "Perceptual(), PairedFeatureMatching()", "doctor": "off", "steps": 1}
    found = {}
    for scales in (1, 2):
        recipe = tiny("pix2pix", discriminator=f"PatchDiscriminator(width=4, scales={scales})", **changes)
        row = Run.open(sparring.train(recipe, out=tmp_path / str(scales))).rows()[0]
        found[scales] = {name.split("/")[-1]: value for name, value in row.items() if name.endswith("Perceptual")}
        matching = [name for name in row if name.endswith("PairedFeatureMatching")]
        assert len(matching) == scales
    assert found[1] == pytest.approx(found[2])


def test_samples_of_several_scales_are_counted_once(tmp_path: Path) -> None:
    game = build_game(
        tiny("pix2pix", discriminator="PatchDiscriminator(width=4, scales=2)"),
        form := Form((1, 16, 16), source=Form((1, 16, 16))),
        torch.device("cpu"),
    )
    turn = game.take_turn("discriminator", [batch_of(game, form, count=3)], Moment())
    assert len(turn.matches) == 2
    assert turn.samples == 3
    recipe = Recipe(
        task="Generate(latent=Normal(5))",
        generator="DCGANGenerator(width=4)",
        discriminator="PatchDiscriminator(width=4, scales=2)",
        augment="ADA(images=100, every=1, target=-1)",
        precision="fp32",
    )
    game = build_game(recipe, Form((1, 16, 16)), torch.device("cpu"))
    turn = game.take_turn("discriminator", [{"real": images(3, 1, 16, 16), **game.task.draw(3)}], Moment())
    assert turn.samples == 3
    assert game.stateful["0-ADA"].readings()["augment/p"] == pytest.approx(3 / 100)


def test_augmentation_of_a_source_of_another_size() -> None:
    recipe = tiny("super-resolution", task="Restore(degrade=Downscale(4), conditional=True)", adversarial="1")
    game = build_game(recipe.replace(augment="DiffAugment()"), form := Form((3, 32, 32)), torch.device("cpu"))
    turn = game.take_turn("generator", [batch_of(game, form)], Moment())
    assert turn.gradient_norm > 0


def test_segmentation_needs_all_class_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 classes are named, and the data has maps of 2 classes"):
        sparring.train(tiny("segment", task="Segment(classes=('a', 'b', 'c'))"), out=tmp_path / "run")


def test_contrast_is_computed_in_fp32() -> None:
    vectors = images(2, 16, 8)
    exact = patch_contrast(vectors, vectors.flip(0), 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_contrast(vectors, vectors.flip(0), 0.07), exact)


def test_pictures_of_maps_have_colours_and_black_for_no_class() -> None:
    form = Form((1, 1, 4), ("a", "b", "c"), map=True)  # three channels, as colours have
    ids = torch.tensor([[[[0, 1, 2, 255]]]], dtype=torch.uint8)
    found = shown(form.to_input(ids), form)
    assert torch.equal(found, coloured(ids, 3))
    assert found[0, :, 0, 3].tolist() == [0, 0, 0]
    grey = shown(torch.tensor([[[[-1.0, 1.0]]]]), Form((1, 1, 2)))
    assert grey.flatten().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("name", "changes", "reported"),
    [
        ("cyclegan", {"turns": "Simultaneous()"}, r"Simultaneous\(\) cannot use a history"),
        ("pix2pix", {"turns": "Unrolled()", "clip_gradients": 1.0}, "neither WeightClip nor clip_gradients"),
        (
            "pix2pix",
            {"turns": "Unrolled()", "discriminator_optimizer": "RMSprop(lr=1e-4)"},
            r"Unrolled\(\) cannot differentiate RMSprop",
        ),
    ],
)
def test_turn_rules_that_do_not_fit_are_rejected_before_the_run_starts(
    name: str, changes: dict[str, Any], reported: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reported):
        sparring.train(tiny(name, **changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_adversarial_loss_penalties_on_the_critic_are_off(tmp_path: Path) -> None:
    terms = {}
    for adversarial in ("0", "1"):
        penalties = "PairedFeatureMatching(), Perceptual()"
        recipe = tiny("pix2pix", adversarial=adversarial, penalties=penalties, steps=1, doctor="off")
        row = Run.open(sparring.train(recipe, out=tmp_path / adversarial)).rows()[0]
        terms[adversarial] = {name.split("/")[-1] for name in row if name.startswith("term/generator")}
    assert terms == {"0": {"l1", "Perceptual"}, "1": {"l1", "Perceptual", "PairedFeatureMatching"}}


@pytest.mark.parametrize("names", [("images", "masks"), ("image", "mask")])
def test_segmentation_finds_folders_by_their_usual_names(names: tuple[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, levels in zip(names, (256, 2)):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, levels, (16, 16), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    data = training_data(load_recipe("segment").replace(data=str(tmp_path), size="16", fit="crop"))
    assert data.form.map
    assert data.form.classes == ("paper", "ink")
    assert data.form.source is not None
    assert not data.form.source.map
