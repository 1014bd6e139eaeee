"""Logging to standard error, as text or as one JSON object per line."""

import json
import logging
import sys
from datetime import UTC, datetime

from portal.core.config import LogFormat

#: Loggers that write tokens, codes and verifiers at DEBUG.
SENSITIVE_AT_DEBUG = ("authlib", "imapclient", "peewee", "requests", "urllib3")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(log_format: LogFormat) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_Json() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in SENSITIVE_AT_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)
    # Lines for each job and connection repeat the log of the run.
    # aiosmtpd logs every client command at INFO, including AUTH.
    for name, level in {
        "rq": logging.WARNING, "rq.worker": logging.WARNING, "imapclient": logging.WARNING, "mail.log": logging.ERROR,
    }.items():  # fmt: skip
        logging.getLogger(name).setLevel(level)
