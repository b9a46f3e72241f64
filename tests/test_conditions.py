"""Classes, codes, packs, and conditions of both players."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring
from sparring.assemble.build import build_game
from sparring.assemble.sampling import draw_conditioned
from sparring.base.components import trusted
from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.samples import image_data
from sparring.doctor.probing.prober import Players, ProbeSet, View
from sparring.doctor.probing.reference import RealReference
from sparring.game.augment import DiffAugment
from sparring.game.condition import Condition, ConditionSpec, in_rows
from sparring.game.game import Game, Player
from sparring.game.inputs import Categorical, Continuous, Normal
from sparring.game.losses import NonSaturating
from sparring.game.match import Match, Moment, packed, unpacked
from sparring.game.penalties import R1, Consistency, MutualInformation
from sparring.game.turns import Unrolled
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
from sparring.tasks.base import Direction, Make, Task
from sparring.tasks.pieces import matched

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


def test_classes_of_fakes_have_the_datas_frequencies() -> None:
    drawn = Generate(classes=True).for_data(FORM).draw(40_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn["fake_label"], minlength=3) / 40_000
    assert shares.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.011)  # 5 standard errors
    old = replace(FORM, counts=())  # an older run without counts
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


def test_concatenation_adds_the_label_as_channels() -> None:
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
    output = critic.judge(samples, labels)
    assert output.logits.shape == (6,)
    assert output.codes is not None
    assert output.codes.shape == (6, 4)
    assert (output.classes is not None) == (condition == "classifier")
    equal = torch.equal(output.logits, critic.judge(samples, labels.flip(0)).logits)
    assert equal == (condition == "classifier"), "a classifier must not see the label"
    parts = [output.logits, output.codes, *([] if output.classes is None else [output.classes])]
    torch.stack([part.square().sum() for part in parts]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())
    if condition != "classifier":
        with pytest.raises(UserError, match="label"):
            critic(samples)


@pytest.mark.parametrize("condition", ["concatenation", "batch_norm"])
def test_conditions_of_generators(condition: str) -> None:
    network = DCGANGenerator(5, (3, 16, 24), width=4, condition=condition, classes=3).eval()
    latent = torch.randn(1, 5).expand(3, 5)
    if condition == "batch_norm":  # all classes are equal at initialisation
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


def test_a_packed_discriminator_receives_k_images() -> None:
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
def test_rejected_tasks(fields: dict[str, Any], message: str) -> None:
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
def test_heads_without_a_penalty_are_rejected(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        sparring.train("digits", out=tmp_path / "run", steps=1, penalties="", **fields)


def test_reals_and_fakes_have_their_own_labels() -> None:
    game = game_of()
    batch = batch_of(game)
    match = game.task.matches(game.discriminator.network, batch, {"fake": batch["real"]})["adversarial"]
    assert match.real_condition.label is batch["label"]
    assert match.fake_condition.label is batch["fake_label"]


def condition_of(kind: str, count: int, seed: int = 0) -> Condition:
    """A condition of one kind for samples of 16x16."""
    rng = torch.Generator().manual_seed(seed)
    if kind == "label":
        return Condition(label=torch.randint(3, (count,), generator=rng))
    if kind == "attributes":
        return Condition(attributes=torch.rand(count, 2, generator=rng))
    if kind == "tokens":
        mask = torch.arange(5).expand(count, -1) < torch.randint(1, 6, (count, 1), generator=rng)
        return Condition(tokens=torch.randint(1, 9, (count, 5), generator=rng) * mask, mask=mask)
    return Condition(image=torch.rand(count, 1, 16, 16, generator=rng))


KINDS = ("label", "attributes", "tokens", "image")


def same(one: Condition, other: Condition) -> bool:
    return one.parts.keys() == other.parts.keys() and all(map(torch.equal, one.arguments, other.arguments))


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_is_sliced_moved_and_stored_in_a_batch(kind: str) -> None:
    condition = condition_of(kind, 6)
    assert list(condition.parts) == (["tokens", "mask"] if kind == "tokens" else [kind])
    assert len(condition) == 6
    assert condition.spatial == (kind == "image")
    batch = {"real": torch.zeros(6, 1), "mask": torch.ones(6, 1, 4, 4), **condition.to_batch("fake_")}
    assert same(Condition.from_batch(batch, "fake_"), condition)
    assert same(Condition.from_batch(batch, "fake_", [kind]), condition)
    assert not Condition.from_batch(batch).parts
    assert not Condition.from_batch(condition.to_batch(), kinds=[]).parts
    cut = Condition.from_batch({name: tensor[2:4] for name, tensor in batch.items()}, "fake_")
    assert same(cut, condition[2:4])
    order = torch.tensor([5, 0, 0])
    assert all(torch.equal(a, b[order]) for a, b in zip(condition[order].arguments, condition.arguments))
    assert {tensor.device.type for tensor in condition.to("meta").arguments} == {"meta"}
    other = condition.another(3)
    assert other.parts.keys() == condition.parts.keys()
    if kind == "label":
        assert other.arguments[0].tolist() == [(label + 1) % 3 for label in condition.arguments[0].tolist()]
    else:
        assert all(torch.equal(a[1:], b[:-1]) for a, b in zip(other.arguments, condition.arguments))


def test_an_empty_condition() -> None:
    assert (len(Condition()), Condition().arguments, Condition().spatial) == (0, (), False)
    assert not Condition().to_batch("fake_")
    assert not Condition()[:2].parts


def test_a_row_has_the_same_latents_in_each_condition() -> None:
    latent, text = torch.randn(2, 4), condition_of("tokens", 3)
    rows = in_rows({"latent": latent}, text.to_batch("fake_"))
    assert torch.equal(rows["latent"], latent.repeat(3, 1))
    assert same(Condition.from_batch(rows, "fake_"), text[torch.tensor([0, 0, 1, 1, 2, 2])])


class Reading(nn.Module):
    """A player that uses conditions of any kind and stores its last inputs."""

    def __init__(self, features: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.body = shape, nn.Linear(features, 4)
        self.seen: tuple[Tensor, ...] = ()

    def forward(self, samples: Tensor, *given: Tensor) -> Tensor:
        self.seen = (samples, *given)
        read = sum((part.reshape(len(part), -1).float().mean(1) for part in given), torch.zeros(()))
        value = (self.body(samples.flatten(1)).sin() * read[:, None]).sum(1)
        return value.view(-1, *[1] * len(self.shape)).expand(-1, *self.shape)


@dataclass(frozen=True)
class Conditional(Task):
    """Samples of 16x16 for conditions of one kind."""

    kind: str = "attributes"

    @property
    def conditioning(self) -> tuple[ConditionSpec, ...]:
        return (ConditionSpec(self.kind),)

    def for_data(self, form: Form) -> Conditional:
        return self

    def build_generator(self, make: Make) -> nn.Module:
        return Reading(3, (1, 16, 16))

    def build_discriminator(self, make: Make) -> nn.Module:
        return Reading(256, ())

    def draw(self, count: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        drawn = condition_of(self.kind, count, int(torch.randint(100, (), generator=generator)))
        return {"latent": torch.randn(count, 3, generator=generator), **drawn.to_batch("fake_")}

    def generate(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"fake": network(batch["latent"], *Condition.from_batch(batch, "fake_").arguments)}

    def matches(self, network: nn.Module, batch: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Match]:
        conditions = Condition.from_batch(batch), Condition.from_batch(batch, "fake_")
        return matched(network, batch["real"], made["fake"], *conditions)


def conditional_game(kind: str, **fields: Any) -> tuple[Game, dict[str, Tensor]]:
    torch.manual_seed(0)
    task = Conditional(kind)
    networks = [
        build(lambda context, given: nn.Identity()) for build in (task.build_generator, task.build_discriminator)
    ]
    players = [Player(network, torch.optim.SGD(network.parameters(), 0.1)) for network in networks]
    batch = {"real": torch.rand(8, 1, 16, 16), **condition_of(kind, 8, seed=1).to_batch(), **task.draw(8)}
    return Game(task, NonSaturating(), *players, **fields), batch


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_works_with_penalties_and_micro_batches(kind: str) -> None:
    game, batch = conditional_game(kind, penalties=[R1(weight=1), Consistency(weight=1)])
    parts = [{name: tensor[start : start + 4] for name, tensor in batch.items()} for start in (0, 4)]
    for side in ("discriminator", "generator"):
        network = game.player(side).network  # type: ignore[arg-type]
        gradients = []
        for batches in ([batch], parts):
            quiet = replace(game, penalties=game.penalties[:1])  # Consistency draws for each micro-batch
            quiet.accumulate(side, batches, Moment())  # type: ignore[arg-type]
            gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        assert gradients[0]
        torch.testing.assert_close(gradients[0], gradients[1])
    terms = game.discriminator_outcome(batch, Moment()).terms
    assert terms["adversarial/Consistency"] > 0
    changed = {**batch, **Condition.from_batch(batch).another(3).to_batch()}
    assert game.discriminator_outcome(changed, Moment()).terms["adversarial/R1"] != terms["adversarial/R1"]
    assert [len(turn.terms) for turn in Unrolled(depth=1)(game, lambda: parts, Moment()).values()] == [3, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_augmentation_changes_only_spatial_conditions(kind: str) -> None:
    game, batch = conditional_game(kind, augment=DiffAugment(color=False))
    condition = Condition.from_batch(batch)
    if condition.spatial:
        batch["real"] = batch["source"]
    match = game.matches(batch, game.task.generate(game.generator.network, batch), Moment())["adversarial"]
    assert match.real_logits.shape == (8,)
    samples, *given = game.discriminator.network.seen  # type: ignore[union-attr, misc]
    assert not torch.equal(samples, batch["real"])
    for part, before in zip(given, condition.arguments):
        assert torch.equal(part, samples if condition.spatial else before)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_drawn_for_any_condition(kind: str) -> None:
    task, network = Conditional(kind), Reading(3, (1, 16, 16))
    drawn, condition = draw_conditioned(task, network, 300, seed=2)
    assert drawn.shape == (300, 1, 16, 16)
    assert len(condition) == 300
    again, wanted = draw_conditioned(task, network, 5, 2, condition[:5].another(3))
    assert same(wanted, condition[:5].another(3))
    assert not torch.equal(again, drawn[:5])
    torch.testing.assert_close(draw_conditioned(task, network, 5, 2, condition[:5])[0], drawn[:5])


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_exchanges_any_condition(kind: str) -> None:
    game, _ = conditional_game(kind)
    train = {"real": torch.rand(64, 1, 16, 16), **condition_of(kind, 64, seed=1).to_batch()}
    seen = train["real"].flatten(1)
    view = View(Direction(), RealReference(seen, seen, torch.rand_like(seen), unseen=False), {})
    players = Players(
        (game.generator.network, game.discriminator.network),
        lambda batch: game.task.generate(game.generator.network, batch),
        lambda batch, made: game.matches(batch, made, Moment()),
    )
    found = ProbeSet([view], game.task.draw(64), train, None, [slice(0, 32), slice(32, 64)], 3).probe(players, None)
    assert found["effect/class"] > 0.01
    assert found["effect/latent"] > 0.01
    assert found["effect/critic"] != 0


def test_only_tasks_use_keys_of_conditions() -> None:
    source = Path(sparring.__file__).parent
    texts = {path.relative_to(source).as_posix(): path.read_text(encoding="utf-8") for path in source.rglob("*.py")}
    assert "game/condition.py" in texts
    named = [name for name, text in texts.items() if re.search(r"fake_(label|attributes|tokens|source)\b", text)]
    assert [name for name in named if not name.startswith("tasks/")] == []
    shaped = [name for name, text in texts.items() if re.search(r"condition\.(dim\(|ndim|shape)", text)]
    assert shaped == [], "the kind of a condition is its field, not its number of axes"


def test_codes_are_appended_to_the_latents() -> None:
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


def test_the_gallery_has_a_row_for_each_class() -> None:
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


def test_training_learns_the_codes() -> None:
    """The cross-entropy of the codes falls far below that of a uniform prediction, log 3."""
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
    with pytest.raises(UserError, match="takes no classes, but classes=3 is required"), trusted(True):
        build_game(RECIPE.replace(generator="torch.nn.Linear()"), FORM, torch.device("cpu"))


def test_penalties_use_the_label() -> None:
    game = game_of(penalties="R1(weight=1)")
    with_labels = game.discriminator_outcome(batch_of(game), Moment()).terms["adversarial/R1"]
    batch = dict(batch_of(game))
    batch["label"] = (batch["label"] + 1) % 3
    assert with_labels != game.discriminator_outcome(batch, Moment()).terms["adversarial/R1"]


def test_r1_uses_the_condition_of_the_match() -> None:
    critic = MLPDiscriminator((2,), hidden=(4,), classes=2).requires_grad_(False)
    real = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([0, 1, 1])
    values = R1()(Match(critic.judge, real, real, Condition(label=labels), Condition(label=labels)))
    (gradient,) = torch.autograd.grad(critic(real, labels).sum(), real)
    torch.testing.assert_close(values, gradient.square().sum(1) / 2)


def test_data_counts_its_classes() -> None:
    data = image_data("x", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 2, 2, 0]), ("a", "b", "c"))
    assert data.form.counts == (2, 0, 2)
    assert MutualInformation().weight == 1


def test_a_generator_of_points_takes_labels() -> None:
    network = MLPGenerator(4, (2,), hidden=(8,), classes=3)
    assert network(torch.randn(6, 4), torch.arange(6) % 3).shape == (6, 2)
