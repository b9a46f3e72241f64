"""Classes, codes and packs: what players are told, and what they make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring
from sparring.assemble.build import build_game
from sparring.base.components import trusted
from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.samples import image_data
from sparring.game.game import Game
from sparring.game.inputs import Categorical, Continuous, Normal
from sparring.game.match import Match, Moment, packed, unpacked
from sparring.game.penalties import R1, MutualInformation
from sparring.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
    R3GANDiscriminator,
    ResNetDiscriminator,
)
from sparring.networks.critic import CONDITIONS, Critic, with_label
from sparring.networks.layers import ConditionalBatchNorm, MinibatchDeviation
from sparring.recipe import Recipe
from sparring.tasks import Generate

FORM = Form((1, 8, 8), ("a", "b", "c"), counts=(10, 0, 30))
RECIPE = Recipe(
    task="Generate(latent=Normal(5), classes=True)",
    generator="DCGANGenerator(width=4)",
    discriminator="DCGANDiscriminator(width=4)",
    augment="",
    precision="fp32",
)


def game_of(**fields: Any) -> Game:
    return build_game(RECIPE.replace(**fields), FORM, torch.device("cpu"))


def batch_of(game: Game, count: int = 6) -> dict[str, Tensor]:
    torch.manual_seed(0)
    real, labels = torch.rand(count, 1, 8, 8) * 2 - 1, torch.tensor([0, 2] * count)[:count]
    return {"real": real, "label": labels, **game.task.draw(count)}


def test_fakes_have_classes_as_frequent_as_the_datas() -> None:
    drawn = Generate(classes=True).for_data(FORM).draw(40_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn["fake_label"], minlength=3) / 40_000
    assert shares.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.011)  # 5 standard errors
    old = replace(FORM, counts=())  # of a run that kept no counts
    assert len(set(Generate(classes=True).for_data(old).draw(100)["fake_label"].tolist())) == 3


@pytest.mark.parametrize("classes", [(), ("one",)])
def test_classes_need_labels(classes: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="needs labelled data"):
        Generate(classes=True).for_data(Form((1, 8, 8), classes))


def test_the_projection_critics_logit_by_hand() -> None:
    critic = MLPDiscriminator((4,), hidden=(7,), classes=3)
    samples, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 2, 0])
    hidden = nn.functional.leaky_relu(samples @ critic.layers[1].weight.T + critic.layers[1].bias, 0.2)  # phi(x)
    by_hand = hidden @ critic.logit.weight[0] + critic.logit.bias + (hidden * critic.embedding.weight[labels]).sum(1)
    torch.testing.assert_close(critic(samples, labels), by_hand)
    assert not torch.equal(critic(samples, labels), critic(samples, (labels + 1) % 3))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("kind", [MLPDiscriminator, DCGANDiscriminator, ResNetDiscriminator, R3GANDiscriminator])
def test_heads_are_computed_in_fp32_under_autocast(kind: Any, condition: str) -> None:
    critic = kind((1, 8, 8), condition=condition, classes=3, codes=2).eval()
    samples, labels = torch.randn(16, 1, 8, 8), torch.arange(16) % 3
    with torch.autocast("cpu", torch.bfloat16):
        found = critic.judge(samples, labels)
    assert found.features is not None
    heads = {"logits": found.logits, "codes": found.codes}
    wanted = {"logits": critic.logit(found.features).flatten(), "codes": critic.recogniser(found.features)}
    if condition == "projection":
        wanted["logits"] = wanted["logits"] + (critic.embedding(labels) * found.features).sum(1)
    if condition == "classifier":
        heads["classes"], wanted["classes"] = found.classes, critic.classifier(found.features)
    for head, values in heads.items():
        assert values is not None
        assert values.dtype == torch.float32, head
        assert not torch.equal(values, values.bfloat16().float()), f"{head} are rounded"
        torch.testing.assert_close(values, wanted[head], rtol=1e-6, atol=1e-7)


def test_concatenation_shows_the_label_as_channels() -> None:
    maps = with_label(torch.zeros(2, 1, 3, 4), torch.tensor([1, 0]), 2)
    assert maps.shape == (2, 3, 3, 4)
    assert maps[0, 1:].flatten(1).sum(1).tolist() == [0, 12]
    assert maps[1, 1:].flatten(1).sum(1).tolist() == [12, 0]
    assert with_label(torch.zeros(2, 5), torch.tensor([1, 0]), 2)[:, 5:].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("kind", [MLPDiscriminator, DCGANDiscriminator])
def test_conditions_of_critics(kind: Any, condition: str) -> None:
    options = {"hidden": (8,)} if kind is MLPDiscriminator else {"width": 4}
    critic: Critic = kind((1, 8, 8), condition=condition, classes=3, codes=4, **options)
    samples, labels = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    said = critic.judge(samples, labels)
    assert said.logits.shape == (6,)
    assert said.codes is not None
    assert said.codes.shape == (6, 4)
    assert (said.classes is not None) == (condition == "classifier")
    told = torch.equal(said.logits, critic.judge(samples, labels.flip(0)).logits)
    assert told == (condition == "classifier"), "a classifier must not see what it is to tell"
    parts = [said.logits, said.codes, *([] if said.classes is None else [said.classes])]
    torch.stack([part.square().sum() for part in parts]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())
    if condition != "classifier":
        with pytest.raises(UserError, match="label"):
            critic(samples)


@pytest.mark.parametrize("condition", ["concatenation", "batch_norm"])
def test_conditions_of_generators(condition: str) -> None:
    network = DCGANGenerator(5, (3, 16, 24), width=4, condition=condition, classes=3).eval()
    latent = torch.randn(1, 5).expand(3, 5)
    if condition == "batch_norm":  # all classes are alike at first
        for layer in network.modules():
            if isinstance(layer, ConditionalBatchNorm):
                nn.init.normal_(layer.gain.weight, 1, 0.5)
    samples = network(latent, torch.arange(3))
    assert not torch.allclose(samples[0], samples[1], atol=1e-4)
    with pytest.raises(UserError, match="needs batch_norm=True"):
        DCGANGenerator(5, (3, 16, 24), batch_norm=False, condition="batch_norm", classes=3)
    with pytest.raises(UserError, match="condition='projection'"):
        DCGANGenerator(5, (3, 16, 24), condition="projection", classes=3)


def test_conditional_batch_norm_is_batch_norm_with_the_classs_gain_and_bias() -> None:
    layer, plain = ConditionalBatchNorm(2, 3), nn.BatchNorm2d(2, affine=False)
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.bias.weight)
    maps, label = torch.randn(4, 2, 3, 3), torch.tensor([0, 2, 2, 1])
    expected = torch.stack(
        [
            layer.gain.weight[c][:, None, None] * m + layer.bias.weight[c][:, None, None]
            for m, c in zip(plain(maps), label)
        ]
    )
    torch.testing.assert_close(layer(maps, label), expected)


def test_minibatch_deviation_by_hand() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0], [7.0, 7.0], [7.0, 7.0]])
    shown = MinibatchDeviation(2)(features)
    assert torch.equal(shown[:, :2], features)
    expected = [0.5, 0.5, 0, 0]  # deviations (1, 0) and (0, 0), averaged over features
    assert shown[:, 2].tolist() == pytest.approx(expected, abs=2e-4)  # the root's eps
    maps = MinibatchDeviation(4)(torch.randn(6, 2, 3, 3))
    assert maps.shape == (6, 3, 3, 3)
    assert len(maps[:4, 2].unique()) == 1


def test_a_copied_batch_has_a_finite_gradient() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    MinibatchDeviation(4)(features).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_packing_k_sees_k_images() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 2, 2)
    pairs = packed(images, 2)
    assert pairs.shape == (3, 6, 2, 2)
    assert pairs[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3], [4, 4, 4, 5, 5, 5]]
    assert torch.equal(unpacked(pairs, 2), images)
    game = game_of(task="Generate(latent=Normal(5), pack=3)", penalties="R1(weight=1)")
    assert game.discriminator.network.layers[0].in_channels == 3  # type: ignore[index, union-attr]
    batch = batch_of(game, 6)
    outcome = game.discriminator_outcome(batch, Moment())
    assert outcome.matches["adversarial"].real_logits.shape == (2,)
    both = game.task.matches(game.discriminator.network, batch, outcome.made)["adversarial"]
    changed = dict(batch, real=batch["real"].clone())
    changed["real"][1] += 1  # another image of the first pack
    other = game.task.matches(game.discriminator.network, changed, outcome.made)["adversarial"]
    assert (both.real_logits != other.real_logits).tolist() == [True, False]


def test_packs_are_augmented_image_by_image() -> None:
    seen: list[tuple[int, ...]] = []

    class Watch:
        def __call__(self, images: Tensor, progress: float) -> Tensor:
            seen.append(tuple(images.shape))
            return images

    game = replace(game_of(task="Generate(latent=Normal(5), pack=2)"), augment=Watch())
    game.discriminator_outcome(batch_of(game, 6), Moment())
    assert seen == [(6, 1, 8, 8)] * 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pack": 2, "classes": True}, "neither classes nor codes"),
        ({"pack": 0}, "pack=0 must be a whole number"),
        ({"classes": 3}, "classes=3 must be True or False"),
        ({"codes": (3,)}, "codes="),
        ({"latent": 3}, "latent=3"),
    ],
)
def test_refused_tasks(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Generate(**fields)


def test_a_batch_that_cannot_be_packed(tmp_path: Path) -> None:
    assert packed(torch.zeros(7, 1, 2, 2), 2).shape == (3, 2, 2, 2)
    fields = {"task": "Generate(latent=Normal(5), pack=3)", "batch_size": 8, "steps": 1}
    with pytest.raises(UserError, match="batches of 8 samples cannot be cut into packs of 3; .*such as 6"):
        sparring.train("digits", out=tmp_path / "run", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {
                "task": "Generate(latent=Normal(5), classes=True)",
                "discriminator": "DCGANDiscriminator(width=4, condition='classifier')",
            },
            "needs the penalty AuxiliaryClassifier",
        ),
        ({"task": "Generate(latent=Normal(5), codes=Categorical(3))"}, "codes need the penalty MutualInformation"),
    ],
)
def test_what_nothing_teaches_is_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        sparring.train("digits", out=tmp_path / "run", steps=1, penalties="", **fields)


def test_the_critic_learns_of_labels_that_do_not_fit() -> None:
    game = game_of()
    batch = batch_of(game)
    match = game.task.matches(game.discriminator.network, batch, {"fake": batch["real"]})["adversarial"]
    assert match.real_condition is batch["label"]
    assert match.fake_condition is batch["fake_label"]


def test_codes_stand_behind_the_latents_and_are_told_apart() -> None:
    task = Generate(latent=Normal(3), codes=(Continuous(1), Categorical(4))).for_data(FORM)
    asked: list[tuple[object, ...]] = []

    def make(context: tuple[object, ...], given: Mapping[str, object]) -> nn.Module:
        asked.append((context, given))
        return nn.Identity()

    task.build_generator(make), task.build_discriminator(make)
    assert asked == [((3 + 1 + 4, (1, 8, 8)), {"classes": 0}), (((1, 8, 8),), {"classes": 0, "codes": 5})]
    inputs, columns = task.gallery(torch.Generator().manual_seed(0))
    assert columns == 8
    assert inputs["code"].shape == (32, 5)
    assert inputs["code"][:, 1:].argmax(1).tolist() == [row for row in range(4) for _ in range(8)]
    assert torch.equal(inputs["latent"][:8], inputs["latent"][8:16])


def test_the_gallery_has_a_row_a_class() -> None:
    inputs, columns = Generate(classes=True).for_data(FORM).gallery(torch.Generator().manual_seed(0))
    assert inputs["fake_label"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert torch.equal(inputs["latent"][:8], inputs["latent"][16:])
    many = Form((1, 8, 8), tuple(map(str, range(1000))))
    shown = Generate(classes=True).for_data(many).gallery(torch.Generator().manual_seed(0))[0]["fake_label"]
    assert shown[::8].tolist() == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    inputs, columns = Generate().for_data(FORM).gallery(torch.Generator().manual_seed(0))
    assert (len(inputs["latent"]), columns) == (64, 8)


def test_information_has_a_gradient_for_both_players() -> None:
    game = game_of(task="Generate(latent=Normal(5), codes=(Categorical(3),))", penalties="MutualInformation()")
    batch = batch_of(game)
    for side in ("generator", "discriminator"):
        outcome = getattr(game, f"{side}_outcome")
        network = game.player(side).network.requires_grad_(True)  # type: ignore[arg-type]
        term = outcome(batch, Moment()).terms["adversarial/MutualInformation"]
        gradients = torch.autograd.grad(term, list(network.parameters()), allow_unused=True)
        assert sum(g.abs().sum().item() for g in gradients if g is not None) > 0
        network.requires_grad_(False)


def test_a_run_learns_its_codes_information() -> None:
    """The bound on the information rises far above that of a code that cannot be read, log 3."""
    torch.manual_seed(0)
    game = game_of(
        task="Generate(latent=Normal(5), codes=(Categorical(3),))",
        penalties="MutualInformation()",
        generator="MLPGenerator(hidden=(32,))",
        discriminator="MLPDiscriminator(hidden=(32,))",
        generator_optimizer="Adam(lr=5e-3)",
        discriminator_optimizer="Adam(lr=5e-3)",
    )
    for step in range(150):
        batch = {"real": torch.rand(16, 1, 8, 8) * 2 - 1, **game.task.draw(16)}
        game.take_turn("discriminator", [batch], Moment(step))
        turn = game.take_turn("generator", [batch], Moment(step))
    assert turn.terms["adversarial/MutualInformation"] < 0.2


def test_a_network_of_the_users_that_knows_no_classes() -> None:
    with pytest.raises(UserError, match="cannot be given classes=3"), trusted(True):
        build_game(RECIPE.replace(generator="torch.nn.Linear()"), FORM, torch.device("cpu"))


def test_penalties_meet_the_label() -> None:
    game = game_of(penalties="R1(weight=1)")
    with_labels = game.discriminator_outcome(batch_of(game), Moment()).terms["adversarial/R1"]
    batch = dict(batch_of(game))
    batch["label"] = (batch["label"] + 1) % 3
    assert with_labels != game.discriminator_outcome(batch, Moment()).terms["adversarial/R1"]


def test_r1_is_of_the_match_it_is_given() -> None:
    critic = MLPDiscriminator((2,), hidden=(4,), classes=2).requires_grad_(False)
    real = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([0, 1, 1])
    values = R1()(Match(critic.judge, real, real, labels, labels))
    (gradient,) = torch.autograd.grad(critic(real, labels).sum(), real)
    torch.testing.assert_close(values, gradient.square().sum(1) / 2)


def test_labels_count_their_classes() -> None:
    data = image_data("x", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 2, 2, 0]), ("a", "b", "c"))
    assert data.form.counts == (2, 0, 2)
    assert MutualInformation().weight == 1


def test_a_generator_of_points_takes_labels() -> None:
    network = MLPGenerator(4, (2,), hidden=(8,), classes=3)
    assert network(torch.randn(6, 4), torch.arange(6) % 3).shape == (6, 2)
