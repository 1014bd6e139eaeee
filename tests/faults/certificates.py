"""Invalid server certificates, one per reason."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from portal.sandbox import certificates

_DAY = timedelta(days=1)
#: Start and end of validity in days from now.
_LIVES = {"expired": (-30, -1), "future": (1, 30)}


def make_odd(folder: Path, odd: str) -> Path:
    """Create an ``expired``, ``future``, ``other-name`` or ``self-signed`` certificate, with its own CA."""
    folder.mkdir(parents=True)
    begins, ends = (datetime.now(UTC) + days * _DAY for days in _LIVES.get(odd, (-30, 300)))
    names = ("mail.elsewhere.test",) if odd == "other-name" else ("localhost", "127.0.0.1")
    ca = trustme.CA(organization_name="An odd CA")
    certificates.write(ca, ca.issue_cert(*names, not_before=begins, not_after=ends), folder)
    return folder
