"""Healthy trainings of all kinds, which the doctor is to leave alone."""

from __future__ import annotations

from sparring.studies.clinic.case import CLASSES, HEALTHY, Case, adam, make_case

SLOPES = "R1(weight=0.02), R2(weight=0.02)"


def healthy_cases() -> list[Case]:
    """All of them."""
    ring, relative = "ring", "RelativisticPairing()"
    return [
        make_case("ring-plain", HEALTHY, "MLP, non-saturating, R1", ring, quick=True),
        make_case(
            "ring-relativistic", HEALTHY, "relativistic pairing, R1 and R2", ring, loss=relative, penalties=SLOPES
        ),
        make_case("ring-minimax", HEALTHY, "minimax, R1", ring, loss="Minimax()"),
        make_case(
            "ring-wasserstein",
            HEALTHY,
            "Wasserstein, gradient penalty, five turns of D",
            ring,
            loss="Wasserstein()",
            penalties="GradientPenalty(weight=1)",
            turns="Alternating(n_critic=5)",
            steps=2000,
        ),
        make_case(
            "ring-unrolled",
            HEALTHY,
            "unrolled by five steps, no penalty",
            ring,
            penalties="",
            turns="Unrolled(depth=5)",
            generator_optimizer=adam(1e-3, 0.5, 0.999),
            discriminator_optimizer=adam(1e-4, 0.5, 0.999),
            batch_size=256,
            ema="EMA(half_life=20000)",
            steps=2000,
        ),
        make_case("ring-noise", HEALTHY, "noise on D's inputs", ring, augment="InstanceNoise(sigma=Linear(0.2, 0))"),
        make_case("grid-plain", HEALTHY, "MLP, non-saturating, R1", "grid"),
        make_case(
            "grid-relativistic", HEALTHY, "relativistic pairing", "grid", loss=relative, penalties=SLOPES, steps=4000
        ),
        make_case("grid-hinge", HEALTHY, "hinge, R1", "grid", loss="Hinge()"),
        make_case("digits-plain", HEALTHY, "MLP, non-saturating, R1", "digits", quick=True),
        make_case("digits-squares", HEALTHY, "MLP, least squares, R1", "digits", loss="LeastSquares()"),
        make_case("digits-average", HEALTHY, "relativistic average, R1", "digits", loss="RelativisticAverage()"),
        make_case("digits-topk", HEALTHY, "top-k of non-saturating, R1", "digits", loss="TopK(NonSaturating())"),
        make_case(
            "digits-conv-plain", HEALTHY, "DCGAN with batch normalisation", "digits-conv", ema="EMA(half_life=5000)"
        ),
        make_case(
            "digits-conv-augmented",
            HEALTHY,
            "DCGAN, DiffAugment",
            "digits-conv",
            augment="DiffAugment(color=False, cutout=0)",
        ),
        make_case(
            "digits-resnet",
            HEALTHY,
            "ResNet, hinge, spectral normalisation",
            "digits",
            generator="ResNetGenerator(width=16, most=32)",
            discriminator="ResNetDiscriminator(width=16, most=32)",
            loss="Hinge()",
            penalties="",
            turns="Simultaneous()",
            generator_optimizer=adam(1e-3, 0, 0.9),
            discriminator_optimizer=adam(1e-3, 0, 0.9),
            batch_size=32,
            steps=1500,
        ),
        make_case(
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
        make_case("digits-classes", HEALTHY, "by class, projection", "digits", task=CLASSES),
        make_case("mnist-plain", HEALTHY, "MLP, non-saturating, R1", "mnist"),
        make_case(
            "mnist-conv-plain",
            HEALTHY,
            "DCGAN, an average of the weights",
            "mnist-conv",
            generator_optimizer=adam(2e-3),
            discriminator_optimizer=adam(2e-3),
            ema="EMA(half_life=5000)",
        ),
        make_case(
            "mnist-classes",
            HEALTHY,
            "DCGAN by class, projection",
            "mnist-conv",
            task=CLASSES,
            generator_optimizer=adam(2e-3),
            discriminator_optimizer=adam(2e-3),
        ),
        make_case(
            "stacked-packed",
            HEALTHY,
            "colour, DCGAN, relativistic, packs of two",
            "mnist-conv",
            data="stacked-mnist",
            task="Generate(latent=Normal(64), pack=2)",
            loss=relative,
            penalties="R1(weight=1, every=8), R2(weight=1, every=8)",
            generator_optimizer=adam(2e-3),
            discriminator_optimizer=adam(2e-3),
        ),
        make_case(
            "small-augmented",
            HEALTHY,
            "600 digits, DCGAN, ADA",
            "mnist-conv",
            data="small-mnist",
            augment="ADA(images=20_000)",
            generator_optimizer=adam(2e-3),
            discriminator_optimizer=adam(2e-3),
        ),
    ]
