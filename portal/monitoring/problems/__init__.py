"""Detection of open problems and upcoming expiries, one per cause: from the database rows and from this host."""

from portal.monitoring.problems.detect import FOLLOWING, is_of_another_machine, of_machine, of_rows
from portal.monitoring.problems.machine import record_heartbeats
from portal.monitoring.problems.problem import Problem

__all__ = ["FOLLOWING", "Problem", "is_of_another_machine", "of_machine", "of_rows", "record_heartbeats"]
