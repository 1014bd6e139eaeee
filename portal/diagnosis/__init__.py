"""Diagnosis: checks from the host name to a successful command, with the cause of the first failed check."""

from portal.diagnosis.checks import Diagnosis, Step
from portal.diagnosis.subjects import KINDS, of

__all__ = ["KINDS", "Diagnosis", "Step", "of"]
