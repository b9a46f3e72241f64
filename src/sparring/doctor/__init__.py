"""The doctor: diagnoses failures of GAN training, gives evidence, suggests fixes, and applies them if asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.base.lazy import lazy_names

if TYPE_CHECKING:
    from sparring.doctor.diagnosis.findings import Finding, diagnose
    from sparring.doctor.diagnosis.rules import FAILURES, Evidence
    from sparring.doctor.monitor import Monitor

__all__ = ["FAILURES", "Evidence", "Finding", "Monitor", "diagnose"]

__getattr__ = lazy_names(
    "sparring.doctor",
    {
        "diagnosis.rules": ("FAILURES", "Evidence"),
        "diagnosis.findings": ("Finding", "diagnose"),
        "monitor": ("Monitor",),
    },
)
