"""Sick trainings, named by what is known from outside the numbers that the doctor reads: the fault that was planted."""

from __future__ import annotations

from typing import Any

from sparring.studies.clinic.case import CLASSES, PLANTS, Case, adam, make_case

LOSSY = PLANTS + "LossyGenerator"


def sick_cases() -> list[Case]:
    """All of them."""
    vanish, collapse, circle = "vanishing-gradient", "mode-collapse", "non-convergence"
    diverge, overfit, weak = "divergence", "discriminator-overfit", "discriminator-too-weak"
    leak, deaf, copies = "data-leak", "ignored-condition", "memorising"
    five = "Alternating(n_critic=5)"
    free: dict[str, Any] = {"penalties": ""}
    fast = {"generator_optimizer": adam(3e-2), **free}
    huge = {"generator_optimizer": adam(5e-2), "discriminator_optimizer": adam(5e-2), **free}
    slow = {"discriminator_optimizer": adam(1e-6)}
    momentum = {"generator_optimizer": adam(5e-3, 0.95), "discriminator_optimizer": adam(5e-3, 0.95), **free}
    return [
        make_case(
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
        make_case(
            "grid-vanish",
            vanish,
            "minimax, a fast D",
            "grid",
            loss="Minimax()",
            turns=five,
            discriminator_optimizer=adam(3e-3),
            steps=2000,
            **free,
        ),
        make_case(
            "digits-vanish",
            vanish,
            "minimax, ten turns of a fast D",
            "digits",
            loss="Minimax()",
            turns="Alternating(n_critic=10)",
            discriminator_optimizer=adam(3e-3),
            steps=800,
            **free,
        ),
        make_case(
            "mnist-vanish",
            vanish,
            "minimax, ten turns of a fast D",
            "mnist",
            loss="Minimax()",
            turns="Alternating(n_critic=10)",
            discriminator_optimizer=adam(3e-3),
            steps=500,
            **free,
        ),
        make_case(
            "ring-fast",
            collapse,
            "G's learning rate thirty times too high",
            "ring",
            also=(circle, diverge),
            quick=True,
            **fast,
        ),
        make_case(
            "grid-small-critic",
            collapse,
            "a small D without packing",
            "grid",
            discriminator="MLPDiscriminator(hidden=(16,))",
            also=(circle,),
            **free,
        ),
        make_case(
            "grid-four",
            collapse,
            "four samples at most",
            "grid",
            generator=PLANTS + "FourSampleGenerator(hidden=(128, 128))",
        ),
        make_case(
            "digits-silent",
            collapse,
            "no noise in the latent used",
            "digits",
            generator=PLANTS + "SilentGenerator(hidden=(256, 256))",
            quick=True,
        ),
        make_case(
            "digits-fast", collapse, "G's learning rate thirty times too high", "digits", also=(circle, diverge), **fast
        ),
        make_case(
            "mnist-strong",
            collapse,
            "minimax with a strong D",
            "mnist",
            loss="Minimax()",
            turns="Alternating(n_critic=3)",
            also=(vanish,),
            **free,
        ),
        make_case(
            "digits-four",
            collapse,
            "four samples at most",
            "digits",
            generator=PLANTS + "FourSampleGenerator(hidden=(256, 256))",
        ),
        make_case(
            "ring-lossy", collapse, "two of the eight modes are lost", "ring", generator=LOSSY + "(hidden=(128, 128))"
        ),
        make_case(
            "digits-lossy", collapse, "half of the images are lost", "digits", generator=LOSSY + "(hidden=(256, 256))"
        ),
        make_case(
            "digits-late",
            collapse,
            "R1 fades, and the learning rates rise twentyfold, from 40 % of the run on",
            "digits",
            penalties="R1(weight=Linear(0.1, 0, begin=0.4, finish=0.5), every=4)",
            learning_rate="Linear(1, 20, begin=0.4, finish=0.6)",
            begins=0.4,
            also=(circle, diverge),
        ),
        make_case(
            "ring-circle",
            circle,
            "Wasserstein without a bound on D's slope",
            "ring",
            loss="Wasserstein()",
            also=(collapse,),
            **free,
        ),
        make_case("grid-circle", circle, "much momentum, no penalty", "grid", also=(collapse,), **momentum),
        make_case(
            "digits-circle",
            circle,
            "Wasserstein without a bound on D's slope",
            "digits",
            loss="Wasserstein()",
            also=(collapse, diverge),
            **free,
        ),
        make_case("mnist-circle", circle, "much momentum, no penalty", "mnist", also=(collapse,), **momentum),
        make_case(
            "ring-diverge", diverge, "learning rates fifty times too high", "ring", also=(collapse,), quick=True, **huge
        ),
        make_case("digits-diverge", diverge, "learning rates fifty times too high", "digits", also=(collapse,), **huge),
        make_case(
            "mnist-diverge",
            diverge,
            "the learning rates rise a hundredfold from half of the run on",
            "mnist",
            learning_rate="Linear(1, 100, begin=0.4, finish=0.6)",
            begins=0.4,
            also=(collapse,),
            **free,
        ),
        make_case(
            "digits-overfit",
            overfit,
            "108 images, no augmentation",
            "digits-conv",
            held_out=0.94,
            steps=2500,
            penalties="",
        ),
        make_case(
            "mnist-overfit",
            overfit,
            "180 images, no augmentation",
            "mnist-conv",
            data="small-mnist",
            held_out=0.7,
            steps=2000,
            penalties="",
        ),
        make_case("ring-weak", weak, "D's learning rate a thousandth", "ring", also=(), quick=True, **slow),
        make_case("digits-weak", weak, "D's learning rate a thousandth", "digits", **slow),
        make_case("mnist-weak", weak, "D's learning rate a thousandth", "mnist-conv", **slow),
        make_case(
            "ring-range",
            leak,
            "a generator that ends in tanh",
            "ring",
            generator=PLANTS + "TanhPointGenerator(hidden=(128, 128))",
            quick=True,
        ),
        make_case(
            "digits-range",
            leak,
            "a generator that ends in a sigmoid",
            "digits-conv",
            generator=PLANTS + "SigmoidGenerator(width=16)",
        ),
        make_case(
            "digits-blind",
            deaf,
            "G does not see the class",
            "digits",
            control="digits-classes",
            task=CLASSES,
            generator=PLANTS + "ClassBlindGenerator(hidden=(256, 256))",
            quick=True,
        ),
        make_case(
            "digits-mute",
            deaf,
            "D does not see the class",
            "digits",
            control="digits-classes",
            task=CLASSES,
            discriminator=PLANTS + "ClassBlindDiscriminator(hidden=(256, 256))",
        ),
        make_case(
            "mnist-mute",
            deaf,
            "D tells no class, and nothing asks G for one",
            "mnist",
            task=CLASSES,
            discriminator="MLPDiscriminator(hidden=(256, 256), condition='classifier')",
            penalties="R1(weight=1, every=8), AuxiliaryClassifier(weight=0)",
        ),
        make_case(
            "mnist-one-each",
            deaf,
            "G does not see the latent",
            "mnist",
            task=CLASSES,
            generator=PLANTS + "SilentGenerator(hidden=(256, 256))",
        ),
        make_case("digits-few", overfit, "108 images, MLP, no penalty", "digits", held_out=0.94, **free),
        make_case(
            "digits-copies",
            copies,
            "G gives back training images",
            "digits",
            generator=PLANTS + "CopyingGenerator(data='digits', held_out=0.2)",
            steps=1500,
        ),
        make_case(
            "mnist-copies",
            copies,
            "G gives back training images",
            "mnist",
            data="small-mnist",
            generator=PLANTS + "CopyingGenerator(data='small-mnist')",
            steps=1000,
        ),
    ]
