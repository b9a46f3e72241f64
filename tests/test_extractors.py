"""Extractors: their features, reproducibility and refusals. The duality gap, too."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sparring import metrics
from sparring.base.errors import UserError
from sparring.data.load import load_data, load_held_out
from sparring.data.samples import Data, image_data
from sparring.evaluation.players import duality_gap
from sparring.evaluation.subject import prepare_extractor
from sparring.game.game import Game, Player
from sparring.game.inputs import Normal
from sparring.game.losses import NonSaturating
from sparring.game.match import Moment
from sparring.metrics.extractors import Classifier, Pixels, Prepared, Random
from sparring.metrics.extractors.classifier import _Channelwise
from sparring.networks import MLPDiscriminator
from sparring.tasks import Generate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture(scope="module")
def classifier(digits: Data) -> Prepared:
    return Classifier().prepare(digits, CPU)


def test_pixels_are_the_samples_themselves(digits: Data) -> None:
    seen = Pixels().prepare(digits, CPU)(digits.samples[:5])
    torch.testing.assert_close(seen.features, digits.samples[:5].flatten(1) / 127.5 - 1)
    ring = load_data("ring")
    assert torch.equal(Pixels().prepare(ring, CPU)(ring.samples[:5]).features, ring.samples[:5])
    shrunk = Pixels(most=4).prepare(digits, CPU)
    assert shrunk.resizer == "antialiased bilinear to 4x4"
    assert shrunk(digits.samples[:5]).features.shape == (5, 16)
    wide = image_data("wide", torch.zeros(3, 3, 20, 80, dtype=torch.uint8))
    assert Pixels(most=40).prepare(wide, CPU)(wide.samples).features.shape == (3, 3 * 10 * 40)


def test_random_is_the_same_network_each_time(digits: Data) -> None:
    torch.manual_seed(1)
    one = Random().prepare(digits, CPU)
    torch.manual_seed(2)
    other = Random().prepare(digits, CPU)
    assert one.digest == other.digest != Random(seed=1).prepare(digits, CPU).digest
    assert torch.equal(one(digits.samples[:9]).features, other(digits.samples[:9]).features)
    assert one(digits.samples[:9]).features.shape == (9, 128)
    assert one(digits.samples[:300]).features.std(0).min() > 0  # every feature varies between images


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 33), (4, 100, 50)])
def test_random_takes_images_of_any_shape(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    assert Random().prepare(image_data("any", images), CPU)(images).features.shape == (4, 128)


@pytest.mark.slow
def test_the_classifier_is_accurate_and_cached(
    digits: Data, classifier: Prepared, capfd: pytest.CaptureFixture[str]
) -> None:
    assert digits.labels is not None
    seen = classifier(digits.samples)
    assert seen.features.shape == (1797, 128)
    assert seen.logits is not None
    assert metrics.agreement(seen.logits, digits.labels) > 0.97
    assert float(classifier.about.split()[1].rstrip("%")) > 95  # on held-out images
    capfd.readouterr()
    assert Classifier().prepare(digits, CPU).digest == classifier.digest
    assert "Training" not in capfd.readouterr().err
    assert (classifier.classes, classifier.labels) == (10, True)


@pytest.mark.slow
def test_training_a_classifier_leaves_the_random_numbers_alone(digits: Data) -> None:
    few = digits.part(torch.arange(200))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Classifier().prepare(few, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_a_classifier_of_channels_gives_the_joint_classes(digits: Data, classifier: Prepared) -> None:
    assert digits.labels is not None
    chosen = torch.tensor([[0, 1, 2], [7, 7, 9]])
    joint = _Channelwise(classifier.network, 3)
    features, logits = joint(digits.samples[chosen, 0].float() / 127.5 - 1)
    assert features.shape == (2, 384)
    assert logits.shape == (2, 1000)
    labels = digits.labels[chosen] @ torch.tensor([100, 10, 1])
    assert torch.equal(logits.argmax(1), labels)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))


def test_perceptual_distance(digits: Data, classifier: Prepared) -> None:
    assert digits.labels is not None
    images = digits.samples[:200].float() / 127.5 - 1
    assert metrics.perceptual(images, images, classifier).max() < 1e-6
    same = torch.stack([torch.nonzero(digits.labels == digits.labels[i])[-1, 0] for i in range(200)])
    other = torch.stack([torch.nonzero(digits.labels != digits.labels[i])[-1, 0] for i in range(200)])
    near, far = (
        metrics.perceptual(images, digits.samples[chosen].float() / 127.5 - 1, classifier) for chosen in (same, other)
    )
    assert near.shape == (200,)
    assert near.median() < 0.3 * far.median()
    assert 0 < far.max() <= 4


def test_uint8_and_float_images_have_the_same_features(digits: Data, classifier: Prepared) -> None:
    chosen = digits.samples[:40]
    floats = chosen.float() / 127.5 - 1
    torch.testing.assert_close(classifier(floats).features, classifier(chosen).features)


def test_features_do_not_depend_on_the_chunk(
    digits: Data, classifier: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = classifier(digits.samples[:40]).features
    monkeypatch.setattr("sparring.metrics.extractors.base.CHUNK", 7)
    torch.testing.assert_close(classifier(digits.samples[:40]).features, whole, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused(digits: Data, classifier: Prepared, tmp_path: Path) -> None:
    ring = load_data("ring")
    for extractor in (Classifier(), Random()):
        with pytest.raises(UserError, match="points; take Pixels"):
            extractor.prepare(ring, CPU)
    with pytest.raises(UserError, match=r"needs labels.*take Random\(\)"):
        Classifier().prepare(replace(digits, labels=None), CPU)
    with pytest.raises(UserError, match="no file 'nowhere'"):
        Classifier(weights="nowhere").prepare(digits, CPU)
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="is not a classifier of Sparring"):
        Classifier(weights=str(tmp_path / "bad.safetensors")).prepare(digits, CPU)
    broken = Prepared("Broken()", _Broken(), "x")
    with pytest.raises(UserError, match=r"2 of 5 samples \(the first is number 1\) have NaN or infinite features"):
        broken(digits.samples[:5])


class _Broken(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        features = images.flatten(1).clone()
        features[[1, 3], 2] = math.nan
        return features, None


@pytest.mark.parametrize(
    ("data", "kind"), [("digits", Classifier), ("ring", Pixels), ("unlabelled", Random), ("inception", None)]
)
def test_auto_goes_by_the_data(data: str, kind: type | None, digits: Data, classifier: Prepared) -> None:
    if kind is None:
        with pytest.raises(UserError, match=r"Inception\(download=True\)"):
            prepare_extractor("inception", digits, CPU)
        return
    chosen = replace(digits, labels=None) if data == "unlabelled" else load_data(data)
    assert prepare_extractor("auto", chosen, CPU).name.startswith(kind.__name__)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # it trains the classifier of all of MNIST
def test_the_classifier_finds_the_1000_modes_of_stacked_mnist(
    real_set: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real_set("mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # a shorter training than that of other tests' classifiers
    monkeypatch.setattr("sparring.metrics.extractors.classifier.MOST_STEPS", 700)
    data, held_out = load_data("stacked-mnist"), load_held_out("stacked-mnist")
    assert held_out is not None
    assert data.form.shape == (3, 28, 28)
    assert data.labels is not None
    assert data.channels is not None
    assert len(torch.unique(data.labels)) == 1000
    extractor = Classifier().prepare(data, CPU)
    seen = extractor(data.samples[:3000])
    assert seen.logits is not None
    assert metrics.agreement(seen.logits, data.labels[:3000]) > 0.95  # three digits at about 99 % each
    missing = data.samples[data.labels >= 500][:3000]  # half of the modes are left out
    found = metrics.class_modes(extractor(missing).logits.argmax(1), torch.full((1000,), 1e-3))  # type: ignore[union-attr]
    assert 450 <= found.covered <= 520  # 500, up to misclassified digits and modes that 3,000 samples miss
    assert found.divergence == pytest.approx(math.log(2) + 499 / 6000, abs=0.05)


class _Shift(nn.Module):
    """A generator of normal points, moved away from the data."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor([by, 0.0]))

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return latent + self.by


def _game(shift: float) -> Game:
    torch.manual_seed(0)
    critic = MLPDiscriminator((2,), hidden=(32,))
    for layer in [m for m in critic.modules() if isinstance(m, nn.Linear)][-1:]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    generator = _Shift(shift)
    players = [Player(n, torch.optim.Adam(n.parameters(), lr=0.02)) for n in (generator, critic)]
    return Game(Generate(latent=Normal(2)), NonSaturating(), *players)


def _batch(count: int = 1000) -> dict[str, torch.Tensor]:
    return {"real": torch.randn(count, 2), "latent": torch.randn(count, 2)}


def test_the_duality_gap_is_zero_at_the_equilibrium_and_large_far_from_it() -> None:
    torch.manual_seed(0)
    judged = [_batch() for _ in range(8)]
    at = duality_gap(_game(0.0), _batch, judged, steps=60)
    assert at["game_value"] == pytest.approx(-2 * math.log(2))
    assert at["game_value_worst_g"] == pytest.approx(
        -2 * math.log(2)
    )  # a critic that outputs 0 everywhere leaves G nothing to gain
    assert 0 <= at["duality_gap"] < 0.01
    far = duality_gap(_game(6.0), _batch, judged, steps=60)
    assert far["duality_gap"] > 1.2  # the best D separates nearly all samples: V rises from -1.386 to nearly 0


def test_the_generators_best_response_counts_too() -> None:
    game = _game(3.0)
    for step in range(150):  # D learns to detect the fakes
        game.take_turn("discriminator", [_batch(200)], Moment(step))
    judged = [_batch() for _ in range(4)]
    found = duality_gap(game, lambda: _batch(200), judged, steps=150)
    assert found["game_value_worst_g"] < found["game_value"] - 0.3  # a copy of G moves to where D outputs "real"


def test_the_duality_gap_leaves_the_game_as_it_was() -> None:
    game = _game(1.0)
    game.take_turn("discriminator", [_batch(50)], Moment(0))
    before = copy.deepcopy([game.generator.network.state_dict(), game.discriminator.network.state_dict()])
    state = copy.deepcopy(game.discriminator.optimizer.state_dict())
    duality_gap(game, lambda: _batch(50), [_batch(50)], steps=20)
    after = [game.generator.network.state_dict(), game.discriminator.network.state_dict()]
    for old, new in zip(before, after):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert str(state) == str(game.discriminator.optimizer.state_dict())
    assert game.discriminator.network.training


def test_a_classifier_of_other_images(digits: Data, classifier: Prepared) -> None:
    larger = image_data("larger", torch.randint(256, (3, 1, 24, 16), dtype=torch.uint8))
    found = Classifier(trained_on="digits").prepare(larger, CPU)
    assert (classifier.name, found.name) == ("Classifier()", "Classifier(trained_on='digits')")
    assert (found.digest, found.labels) == (classifier.digest, False)
    assert found.resizer == "antialiased bilinear to 8x8"
    assert found(larger.samples).features.shape == (3, 128)
    assert found.maps(torch.zeros(1, 1, 24, 16))[0].shape == (1, 32, 24, 16)
    with pytest.raises(UserError, match="name a set of images with as many channels"):
        Classifier(trained_on="digits").prepare(image_data("colour", torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), CPU)


@pytest.mark.slow
def test_classifiers_of_two_seeds_are_two(digits: Data, classifier: Prepared) -> None:
    assert Classifier(seed=1).prepare(digits, CPU).digest != classifier.digest
