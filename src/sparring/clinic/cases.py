"""What the clinic trains: healthy recipes of all kinds, and sick ones with what was planted in them.

All are scaled so that a run takes a minute or less on two cores. Sick ones are named by what is known from outside the
numbers that the doctor reads: the fault that was planted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sparring.recipe import Recipe

HEALTHY = "healthy"
PLANTS = "sparring.clinic.plants."
LOSSY = PLANTS + "LossyGenerator"


@dataclass(frozen=True)
class Case:
    """A training of which is known what ails it.

    Attributes:
        name: of the case.
        illness: what was planted, or `healthy`.
        about: how, in a few words.
        recipe: fields of the recipe.
        control: the healthy case of the same data that its score is compared with; its own name, if it is one.
        also: other names of the same illness that are right, because what was planted brings them about.
        begins: the share of the run at which what was planted sets in.
        quick: is it one of the few of `--quick`?
    """

    name: str
    illness: str
    about: str
    recipe: Mapping[str, Any] = field(repr=False, hash=False)
    control: str = ""
    also: tuple[str, ...] = ()
    begins: float = 0.0
    quick: bool = False

    @property
    def curable(self) -> bool:
        """Is the fault in the recipe, so that a change of it can help? A planted network stays what it is."""
        return self.illness != HEALTHY and PLANTS not in f"{self.recipe}"

    def make_recipe(self, seed: int) -> Recipe:
        """The recipe to train; it is watched, and examined at twenty moments."""
        fields = {**COMMON, **self.recipe, "seed": seed}
        points = fields["data"] in ("ring", "grid")
        exams = {
            "metrics": "wasserstein,modes" if points else "frechet,modes",
            "evaluate_count": 1000 if points else 500,
        }
        every = max(1, fields["steps"] // 20)
        return Recipe(**{**exams, **fields, "evaluate_every": every, "log_every": max(1, fields["steps"] // 200)})


COMMON: dict[str, Any] = {
    "task": "Generate(latent=Normal(16))",
    "loss": "NonSaturating()",
    "turns": "Alternating()",
    "generator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "discriminator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "learning_rate": "Linear(1, 0, begin=0.5)",
    "ema": "",
    "augment": "",
    "precision": "fp32",
    "evaluate_budget": 1.0,
    "doctor": "watch",
    "pictures": 10,
    "checkpoint_every": 60.0,
}


def _bases() -> dict[str, dict[str, Any]]:
    """The healthy settings that cases start from."""
    mlp = {"generator": "MLPGenerator(hidden=(128, 128))", "discriminator": "MLPDiscriminator(hidden=(128, 128))"}
    points = {**mlp, "batch_size": 128, "steps": 2500, "penalties": "R1(weight=0.02)"}
    wide = {"generator": "MLPGenerator(hidden=(256, 256))", "discriminator": "MLPDiscriminator(hidden=(256, 256))"}
    images = {"task": "Generate(latent=Normal(32))", "batch_size": 64, "steps": 2500}
    small = {**images, "data": "digits", "held_out": 0.2, "penalties": "R1(weight=0.1, every=4)"}
    large = {**images, "data": "mnist", "penalties": "R1(weight=1, every=8)", "steps": 1500}
    conv = {
        "generator": "DCGANGenerator(width=16)",
        "discriminator": "DCGANDiscriminator(width=16)",
        "turns": "Simultaneous()",
    }
    return {
        "ring": {**points, "data": "ring"},
        "grid": {**points, "data": "grid", "steps": 4000},
        "digits": {**small, **wide},
        "digits-conv": {**small, **conv},
        "mnist": {**large, **wide},
        "mnist-conv": {**large, **conv, "batch_size": 32, "steps": 1200},
    }


BASES = _bases()
SLOPES = "R1(weight=0.02), R2(weight=0.02)"
CLASSES = "Generate(latent=Normal(32), classes=True)"


def _case(name: str, illness: str, about: str, base: str, **changes: Any) -> Case:
    own = {key: changes.pop(key) for key in ("also", "quick", "control", "begins") if key in changes}
    control = own.pop("control", name if illness == HEALTHY else f"{base}-plain")
    steady = {} if illness == HEALTHY else {"learning_rate": "Constant(1)"}  # as it falls, the sick recover
    return Case(name, illness, about, {**BASES[base], **steady, **changes}, control=control, **own)


def _adam(lr: float, beta1: float = 0.0, beta2: float = 0.99) -> str:
    return f"Adam(lr={lr:g}, betas=({float(beta1)}, {float(beta2)}))"


def _healthy() -> list[Case]:
    ring, relative = "ring", "RelativisticPairing()"
    return [
        _case("ring-plain", HEALTHY, "MLP, non-saturating, R1", ring, quick=True),
        _case("ring-relativistic", HEALTHY, "relativistic pairing, R1 and R2", ring, loss=relative, penalties=SLOPES),
        _case("ring-minimax", HEALTHY, "minimax, R1", ring, loss="Minimax()"),
        _case(
            "ring-wasserstein",
            HEALTHY,
            "Wasserstein, gradient penalty, five turns of D",
            ring,
            loss="Wasserstein()",
            penalties="GradientPenalty(weight=1)",
            turns="Alternating(n_critic=5)",
            steps=2000,
        ),
        _case(
            "ring-unrolled",
            HEALTHY,
            "unrolled by five steps, no penalty",
            ring,
            penalties="",
            turns="Unrolled(depth=5)",
            generator_optimizer=_adam(1e-3, 0.5, 0.999),
            discriminator_optimizer=_adam(1e-4, 0.5, 0.999),
            batch_size=256,
            ema="EMA(half_life=20000)",
            steps=2000,
        ),
        _case("ring-noise", HEALTHY, "noise on D's inputs", ring, augment="InstanceNoise(sigma=Linear(0.2, 0))"),
        _case("grid-plain", HEALTHY, "MLP, non-saturating, R1", "grid"),
        _case(
            "grid-relativistic", HEALTHY, "relativistic pairing", "grid", loss=relative, penalties=SLOPES, steps=4000
        ),
        _case("grid-hinge", HEALTHY, "hinge, R1", "grid", loss="Hinge()"),
        _case("digits-plain", HEALTHY, "MLP, non-saturating, R1", "digits", quick=True),
        _case("digits-squares", HEALTHY, "MLP, least squares, R1", "digits", loss="LeastSquares()"),
        _case("digits-average", HEALTHY, "relativistic average, R1", "digits", loss="RelativisticAverage()"),
        _case("digits-topk", HEALTHY, "top-k of non-saturating, R1", "digits", loss="TopK(NonSaturating())"),
        _case("digits-conv-plain", HEALTHY, "DCGAN with batch normalisation", "digits-conv", ema="EMA(half_life=5000)"),
        _case(
            "digits-conv-augmented",
            HEALTHY,
            "DCGAN, DiffAugment",
            "digits-conv",
            augment="DiffAugment(color=False, cutout=0)",
        ),
        _case(
            "digits-resnet",
            HEALTHY,
            "ResNet, hinge, spectral normalisation",
            "digits",
            generator="ResNetGenerator(width=16, most=32)",
            discriminator="ResNetDiscriminator(width=16, most=32)",
            loss="Hinge()",
            penalties="",
            turns="Simultaneous()",
            generator_optimizer=_adam(1e-3, 0, 0.9),
            discriminator_optimizer=_adam(1e-3, 0, 0.9),
            batch_size=32,
            steps=1500,
        ),
        _case(
            "digits-r3gan",
            HEALTHY,
            "R3GAN",
            "digits",
            generator="R3GANGenerator(width=16, most=64, blocks=1)",
            discriminator="R3GANDiscriminator(width=16, most=64, blocks=1)",
            loss=relative,
            penalties="R1(weight=0.1, every=4), R2(weight=0.1, every=4)",
            turns="Simultaneous()",
            batch_size=32,
        ),
        _case("digits-classes", HEALTHY, "by class, projection", "digits", task=CLASSES),
        _case("mnist-plain", HEALTHY, "MLP, non-saturating, R1", "mnist"),
        _case(
            "mnist-conv-plain",
            HEALTHY,
            "DCGAN, an average of the weights",
            "mnist-conv",
            generator_optimizer=_adam(2e-3),
            discriminator_optimizer=_adam(2e-3),
            ema="EMA(half_life=5000)",
        ),
        _case(
            "mnist-classes",
            HEALTHY,
            "DCGAN by class, projection",
            "mnist-conv",
            task=CLASSES,
            generator_optimizer=_adam(2e-3),
            discriminator_optimizer=_adam(2e-3),
        ),
        _case(
            "stacked-packed",
            HEALTHY,
            "colour, DCGAN, relativistic, packs of two",
            "mnist-conv",
            data="stacked-mnist",
            task="Generate(latent=Normal(64), pack=2)",
            loss=relative,
            penalties="R1(weight=1, every=8), R2(weight=1, every=8)",
            generator_optimizer=_adam(2e-3),
            discriminator_optimizer=_adam(2e-3),
        ),
        _case(
            "small-augmented",
            HEALTHY,
            "600 digits, DCGAN, ADA",
            "mnist-conv",
            data="small-mnist",
            augment="ADA(images=20_000)",
            generator_optimizer=_adam(2e-3),
            discriminator_optimizer=_adam(2e-3),
        ),
    ]


def _sick() -> list[Case]:
    vanish, collapse, circle = "vanishing-gradient", "mode-collapse", "non-convergence"
    diverge, overfit, weak = "divergence", "discriminator-overfit", "discriminator-too-weak"
    leak, deaf, copies = "data-leak", "ignored-condition", "memorising"
    five = "Alternating(n_critic=5)"
    free: dict[str, Any] = {"penalties": ""}
    fast = {"generator_optimizer": _adam(3e-2), **free}
    huge = {"generator_optimizer": _adam(5e-2), "discriminator_optimizer": _adam(5e-2), **free}
    slow = {"discriminator_optimizer": _adam(1e-6)}
    momentum = {"generator_optimizer": _adam(5e-3, 0.95), "discriminator_optimizer": _adam(5e-3, 0.95), **free}
    return [
        _case(
            "ring-vanish",
            vanish,
            "minimax, ten turns of D",
            "ring",
            loss="Minimax()",
            turns="Alternating(n_critic=10)",
            quick=True,
            steps=1500,
            **free,
        ),
        _case(
            "grid-vanish",
            vanish,
            "minimax, a fast D",
            "grid",
            loss="Minimax()",
            turns=five,
            discriminator_optimizer=_adam(3e-3),
            steps=2000,
            **free,
        ),
        _case(
            "digits-vanish",
            vanish,
            "minimax, ten turns of a fast D",
            "digits",
            loss="Minimax()",
            turns="Alternating(n_critic=10)",
            discriminator_optimizer=_adam(3e-3),
            steps=800,
            **free,
        ),
        _case(
            "mnist-vanish",
            vanish,
            "minimax, ten turns of a fast D",
            "mnist",
            loss="Minimax()",
            turns="Alternating(n_critic=10)",
            discriminator_optimizer=_adam(3e-3),
            steps=500,
            **free,
        ),
        _case(
            "ring-fast",
            collapse,
            "G's learning rate thirty times too high",
            "ring",
            also=(circle, diverge),
            quick=True,
            **fast,
        ),
        _case(
            "grid-small-critic",
            collapse,
            "a small D without packing",
            "grid",
            discriminator="MLPDiscriminator(hidden=(16,))",
            also=(circle,),
            **free,
        ),
        _case(
            "grid-four",
            collapse,
            "four samples at most",
            "grid",
            generator=PLANTS + "FourSampleGenerator(hidden=(128, 128))",
        ),
        _case(
            "digits-silent",
            collapse,
            "no noise in the latent used",
            "digits",
            generator=PLANTS + "SilentGenerator(hidden=(256, 256))",
            quick=True,
        ),
        _case(
            "digits-fast", collapse, "G's learning rate thirty times too high", "digits", also=(circle, diverge), **fast
        ),
        _case(
            "mnist-strong",
            collapse,
            "minimax with a strong D",
            "mnist",
            loss="Minimax()",
            turns="Alternating(n_critic=3)",
            also=(vanish,),
            **free,
        ),
        _case(
            "digits-four",
            collapse,
            "four samples at most",
            "digits",
            generator=PLANTS + "FourSampleGenerator(hidden=(256, 256))",
        ),
        _case(
            "ring-lossy", collapse, "two of the eight modes are lost", "ring", generator=LOSSY + "(hidden=(128, 128))"
        ),
        _case(
            "digits-lossy", collapse, "half of the images are lost", "digits", generator=LOSSY + "(hidden=(256, 256))"
        ),
        _case(
            "digits-late",
            collapse,
            "R1 fades, and the learning rates rise twentyfold, from 40 % of the run on",
            "digits",
            penalties="R1(weight=Linear(0.1, 0, begin=0.4, finish=0.5), every=4)",
            learning_rate="Linear(1, 20, begin=0.4, finish=0.6)",
            begins=0.4,
            also=(circle, diverge),
        ),
        _case(
            "ring-circle",
            circle,
            "Wasserstein without a bound on D's slope",
            "ring",
            loss="Wasserstein()",
            also=(collapse,),
            **free,
        ),
        _case("grid-circle", circle, "much momentum, no penalty", "grid", also=(collapse,), **momentum),
        _case(
            "digits-circle",
            circle,
            "Wasserstein without a bound on D's slope",
            "digits",
            loss="Wasserstein()",
            also=(collapse, diverge),
            **free,
        ),
        _case("mnist-circle", circle, "much momentum, no penalty", "mnist", also=(collapse,), **momentum),
        _case(
            "ring-diverge", diverge, "learning rates fifty times too high", "ring", also=(collapse,), quick=True, **huge
        ),
        _case("digits-diverge", diverge, "learning rates fifty times too high", "digits", also=(collapse,), **huge),
        _case(
            "mnist-diverge",
            diverge,
            "the learning rates rise a hundredfold from half of the run on",
            "mnist",
            learning_rate="Linear(1, 100, begin=0.4, finish=0.6)",
            begins=0.4,
            also=(collapse,),
            **free,
        ),
        _case(
            "digits-overfit",
            overfit,
            "108 images, no augmentation",
            "digits-conv",
            held_out=0.94,
            steps=2500,
            penalties="",
        ),
        _case(
            "mnist-overfit",
            overfit,
            "180 images, no augmentation",
            "mnist-conv",
            data="small-mnist",
            held_out=0.7,
            steps=2000,
            penalties="",
        ),
        _case("ring-weak", weak, "D's learning rate a thousandth", "ring", also=(), quick=True, **slow),
        _case("digits-weak", weak, "D's learning rate a thousandth", "digits", **slow),
        _case("mnist-weak", weak, "D's learning rate a thousandth", "mnist-conv", **slow),
        _case(
            "ring-range",
            leak,
            "a generator that ends in tanh",
            "ring",
            generator=PLANTS + "TanhPointGenerator(hidden=(128, 128))",
            quick=True,
        ),
        _case(
            "digits-range",
            leak,
            "a generator that ends in a sigmoid",
            "digits-conv",
            generator=PLANTS + "SigmoidGenerator(width=16)",
        ),
        _case(
            "digits-blind",
            deaf,
            "G does not see the class",
            "digits",
            control="digits-classes",
            task=CLASSES,
            generator=PLANTS + "ClassBlindGenerator(hidden=(256, 256))",
            quick=True,
        ),
        _case(
            "digits-mute",
            deaf,
            "D does not see the class",
            "digits",
            control="digits-classes",
            task=CLASSES,
            discriminator=PLANTS + "ClassBlindDiscriminator(hidden=(256, 256))",
        ),
        _case(
            "mnist-mute",
            deaf,
            "D tells no class, and nothing asks G for one",
            "mnist",
            task=CLASSES,
            discriminator="MLPDiscriminator(hidden=(256, 256), condition='classifier')",
            penalties="R1(weight=1, every=8), AuxiliaryClassifier(weight=0)",
        ),
        _case(
            "mnist-one-each",
            deaf,
            "G does not see the latent",
            "mnist",
            task=CLASSES,
            generator=PLANTS + "SilentGenerator(hidden=(256, 256))",
        ),
        _case("digits-few", overfit, "108 images, MLP, no penalty", "digits", held_out=0.94, **free),
        _case(
            "digits-copies",
            copies,
            "G gives back training images",
            "digits",
            generator=PLANTS + "CopyingGenerator(data='digits', held_out=0.2)",
            steps=1500,
        ),
        _case(
            "mnist-copies",
            copies,
            "G gives back training images",
            "mnist",
            data="small-mnist",
            generator=PLANTS + "CopyingGenerator(data='small-mnist')",
            steps=1000,
        ),
    ]


CASES = tuple(_healthy() + _sick())


def _as_long() -> dict[str, Case]:
    """For each case its control; for those that can be treated one with as much data and as many steps."""
    by_name = {case.name: case for case in CASES}
    found = {}
    for case in CASES:
        control = by_name[case.control]
        same = {name: case.recipe.get(name, 0.0) for name in ("data", "held_out", "steps")}
        other = [name for name, value in same.items() if control.recipe.get(name, 0.0) != value]
        if case.curable and other:
            name = "-".join([control.name, *(f"{same[name]}" for name in other)])
            control = replace(control, name=name, recipe={**control.recipe, **same})
        found[case.name] = control
    return found


AS_LONG = _as_long()
