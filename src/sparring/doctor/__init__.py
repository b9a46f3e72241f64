"""The doctor: notices the failures of GAN training, names them with evidence, offers remedies, and treats by them."""

from sparring.doctor.monitor import Monitor
from sparring.doctor.rules import ILLNESSES, Evidence
from sparring.doctor.treat import Treatment, treat
from sparring.doctor.verdicts import Verdict, diagnose

__all__ = ["ILLNESSES", "Evidence", "Monitor", "Treatment", "Verdict", "diagnose", "treat"]
