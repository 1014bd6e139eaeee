"""The severity of a state or notice."""

from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    IDLE = "idle"

    @property
    def level(self) -> str:
        """The value in the JSON of the API and the command line, in the metrics and in web service templates."""
        return {Severity.OK: "good", Severity.CRITICAL: "broken"}.get(self, self.value)
