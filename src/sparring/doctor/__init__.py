"""The doctor: notices the failures of GAN training, names them with evidence, offers remedies, and treats by them."""

from sparring.doctor.treat import Treatment, treat
from sparring.doctor.verdicts import ILLNESSES, Evidence, Verdict, diagnose

__all__ = ["ILLNESSES", "Evidence", "Treatment", "Verdict", "diagnose", "treat"]
