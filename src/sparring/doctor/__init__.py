"""The doctor: diagnoses failures of GAN training, gives evidence, suggests fixes, and applies them if asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.base.lazy import lazy_names

if TYPE_CHECKING:
    from sparring.doctor.diagnosis.rules import ILLNESSES, Evidence
    from sparring.doctor.diagnosis.verdicts import Verdict, diagnose
    from sparring.doctor.monitor import Monitor

__all__ = ["ILLNESSES", "Evidence", "Monitor", "Verdict", "diagnose"]

__getattr__ = lazy_names(
    "sparring.doctor",
    {
        "diagnosis.rules": ("ILLNESSES", "Evidence"),
        "diagnosis.verdicts": ("Verdict", "diagnose"),
        "monitor": ("Monitor",),
    },
)
