"""The catalog of causes: how each cause is recognized, what it means, and who fixes it in which steps."""

from portal.causes.loader import UNKNOWN, Cause, Fault, Where, every, explained, named, of_failure, recognize, stored

__all__ = ["UNKNOWN", "Cause", "Fault", "Where", "every", "explained", "named", "of_failure", "recognize", "stored"]
