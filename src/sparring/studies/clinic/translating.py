"""Trainings that turn images into others, healthy and sick: with pairs (edges) and without (inverts)."""

from __future__ import annotations

from sparring.studies.clinic.case import HEALTHY, PLANTS, Case, make_case


def translating_cases() -> list[Case]:
    """All of them."""
    deaf, collapse = "ignored-condition", "mode-collapse"
    contrast = "Contrast(contrast=1, identity=1)"
    return [
        make_case("edges-plain", HEALTHY, "pix2pix", "edges"),
        make_case("inverts-plain", HEALTHY, "CycleGAN", "inverts"),
        make_case(
            "edges-silent", deaf, "G does not see the source", "edges", generator=PLANTS + "SilentUNet(width=16)"
        ),
        make_case("edges-four", collapse, "four images at most", "edges", generator=PLANTS + "FourImageUNet(width=16)"),
        make_case(
            "edges-strangers",
            deaf,
            "G makes what belongs to another source",
            "edges",
            generator=PLANTS + "StrangersUNet(width=16)",
        ),
        make_case(
            "inverts-silent",
            deaf,
            "CUT whose G does not see the source",
            "inverts",
            task=contrast,
            generator=PLANTS + "SilentTranslator(width=8, blocks=1)",
        ),
        make_case(
            "inverts-deaf-back",
            deaf,
            "the way back does not see its source",
            "inverts",
            task=PLANTS + "DeafBack(cycle=10, identity=2)",
        ),
    ]
