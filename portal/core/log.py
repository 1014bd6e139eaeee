"""Logging to standard error, as text or as one JSON object per line."""

import logging
import sys
import time
from datetime import UTC, datetime

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from portal.core import tracing
from portal.core.config import LogFormat

#: Loggers that write tokens, codes and verifiers at DEBUG.
SENSITIVE_AT_DEBUG = ("authlib", "imapclient", "peewee", "requests", "urllib3")


def _json() -> logging.Formatter:
    names = {"created": "at", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    return _JsonFormatter(["created", "levelname", "name", "message", "trace", "exc_info"], rename_fields=names)


class _JsonFormatter(JsonFormatter):
    def process_log_record(self, log_data: LogData) -> LogData:
        """Times in ISO 8601, levels in lower case, no traceback where there is none."""
        data = super().process_log_record(log_data)
        data["at"] = datetime.fromtimestamp(data["at"], UTC).isoformat(timespec="milliseconds")
        data["level"] = data["level"].lower()
        return {name: value for name, value in data.items() if value is not None}


class _Text(logging.Formatter):
    """Lines of text with times in UTC."""

    default_time_format, default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the message as one line: a text from outside must not look like another line."""
        record.message = "".join(map(_visible, record.message))
        trace = getattr(record, "trace", None)
        return super().formatMessage(record) + (f" [trace {trace}]" if trace else "")


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def set_up(log_format: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _json() if log_format == "json" else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    handler.addFilter(tracing.AddTraceId())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in SENSITIVE_AT_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)
    # Lines for each job and connection repeat the log of the run.
    # aiosmtpd logs every client command at INFO, including AUTH.
    for name, level in {
        "rq": logging.WARNING, "rq.worker": logging.WARNING, "imapclient": logging.WARNING, "mail.log": logging.ERROR,
    }.items():  # fmt: skip
        logging.getLogger(name).setLevel(level)
