"""Logging to standard error, as text or as one JSON object per line."""

import logging
import sys
from datetime import UTC, datetime

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from portal.core.config import LogFormat

#: Loggers that write tokens, codes and verifiers at DEBUG.
SENSITIVE_AT_DEBUG = ("authlib", "imapclient", "peewee", "requests", "urllib3")


def _json() -> logging.Formatter:
    names = {"created": "at", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    return _JsonFormatter(["created", "levelname", "name", "message", "exc_info"], rename_fields=names)


class _JsonFormatter(JsonFormatter):
    def process_log_record(self, log_data: LogData) -> LogData:
        """Times in ISO 8601, levels in lower case, no traceback where there is none."""
        data = super().process_log_record(log_data)
        data["at"] = datetime.fromtimestamp(data["at"], UTC).isoformat(timespec="milliseconds")
        data["level"] = data["level"].lower()
        return {name: value for name, value in data.items() if value is not None}


def set_up(log_format: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_json() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in SENSITIVE_AT_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)
    # Lines for each job and connection repeat the log of the run.
    # aiosmtpd logs every client command at INFO, including AUTH.
    for name, level in {
        "rq": logging.WARNING, "rq.worker": logging.WARNING, "imapclient": logging.WARNING, "mail.log": logging.ERROR,
    }.items():  # fmt: skip
        logging.getLogger(name).setLevel(level)
