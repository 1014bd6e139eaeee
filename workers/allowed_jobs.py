"""The jobs that a worker may run: a program that writes to Redis can name any function of any module."""

from typing import Any

from rq.job import Job

from workers import mail_accounts, outbound, tokens, web_services

#: All others are refused; the JSON serializer alone would still allow ``os.system``.
ALLOWED = (
    tokens.refresh_due,
    tokens.poll_device_sign_in,
    mail_accounts.fetch_due,
    outbound.send,
    web_services.call,
)
_ALLOWED_NAMES = {f"{job.__module__}.{job.__name__}" for job in ALLOWED}


class Forbidden(Exception):
    """A job names a function that is not allowed: another program writes to this Redis."""


class ListedJob(Job):
    """A job that only runs the functions in ``ALLOWED``."""

    @property
    def func(self) -> Any:
        if self.func_name not in _ALLOWED_NAMES:
            raise Forbidden(self.func_name)
        return super().func

    def _no_callback(self) -> None:
        return None

    # Callbacks are functions named in Redis as well, so none are run.
    success_callback = failure_callback = stopped_callback = property(_no_callback)
