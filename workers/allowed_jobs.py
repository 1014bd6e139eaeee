"""The jobs that a worker may run: a program that writes to Redis can name any function of any module."""

import zlib
from typing import Any

from rq.job import Job

from workers import backups, mail_accounts, outbound, tokens, web_services

#: All others are refused; the JSON serializer alone would still allow ``os.system``.
ALLOWED = (
    tokens.refresh_due,
    tokens.poll_device_sign_in,
    tokens.renew_certificate,
    mail_accounts.fetch_due,
    outbound.send,
    web_services.call,
    backups.make,
)
_ALLOWED_NAMES = {f"{job.__module__}.{job.__name__}" for job in ALLOWED}


#: Bytes of a job's compressed fields when decompressed; the portal's own jobs have less than a hundred.
_LONGEST = 100_000


class Forbidden(Exception):
    """A job names a function that is not allowed: another program writes to this Redis."""


class ListedJob(Job):
    """A job that only runs the functions in ``ALLOWED``."""

    @property
    def func(self) -> Any:
        if self.func_name not in _ALLOWED_NAMES:
            raise Forbidden(self.func_name)
        return super().func

    def restore(self, raw_data: Any) -> Any:
        """Read a job; a field that decompresses to more than any job of the portal is taken as empty."""
        return super().restore({name: b"" if _is_too_long(value) else value for name, value in raw_data.items()})

    def send_webhooks(self, *_args: Any, **_options: Any) -> None:
        """Send nothing: the URLs are read from Redis, and a failed job would be sent with its traceback."""

    def _no_callback(self) -> None:
        return None

    # Callbacks are functions named in Redis as well, so none are run.
    success_callback = failure_callback = stopped_callback = property(_no_callback)


def _is_too_long(value: Any) -> bool:
    try:
        return isinstance(value, bytes) and len(zlib.decompressobj().decompress(value, _LONGEST)) == _LONGEST
    except zlib.error:
        return len(value) >= _LONGEST
