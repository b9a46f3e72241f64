"""The doctor: notices the failures of GAN training, names them with evidence, and offers remedies."""

from sparring.doctor.monitor import Monitor
from sparring.doctor.verdicts import ILLNESSES, Evidence, Verdict, diagnose

__all__ = ["ILLNESSES", "Evidence", "Monitor", "Verdict", "diagnose"]
