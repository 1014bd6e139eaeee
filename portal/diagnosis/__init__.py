"""Diagnose: step by step from the name of a server to a command that really works, with the cause at the first red."""

from portal.diagnosis.checks import Diagnosis, Step
from portal.diagnosis.subjects import KINDS, of

__all__ = ["KINDS", "Diagnosis", "Step", "of"]
