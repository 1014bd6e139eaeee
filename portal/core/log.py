"""Log lines on standard error, as text or as one JSON object a line."""

import json
import logging
import sys
from datetime import UTC, datetime

from portal.core.config import LogFormat

#: At DEBUG these write tokens, codes and verifiers.
TALKATIVE = ("authlib", "imapclient", "peewee", "requests", "urllib3")


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
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    # A line for each job and connection says nothing that the run's own log does not.
    # And aiosmtpd, at INFO, writes every command of a client: AUTH among them.
    for name, level in {
        "rq": logging.WARNING, "rq.worker": logging.WARNING, "imapclient": logging.WARNING, "mail.log": logging.ERROR,
    }.items():  # fmt: skip
        logging.getLogger(name).setLevel(level)
