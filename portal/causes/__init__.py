"""The catalogue of causes: what can be wrong, how it is recognised, and who mends it how. One entry a cause."""

from portal.causes.loader import UNKNOWN, Cause, Fault, Where, every, explained, named, recognise

__all__ = ["UNKNOWN", "Cause", "Fault", "Where", "every", "explained", "named", "recognise"]
