import threading
from io import BytesIO
from pathlib import Path

import pytest

from portal.core.errors import Unavailable
from portal.protocols import maildir


def test_repeated_delivery_of_one_key_writes_one_file(tmp_path: Path) -> None:
    maildir.prepare(tmp_path)
    writers = [threading.Thread(target=maildir.deliver, args=(tmp_path, [("1.k.h", BytesIO(b"x"))])) for _ in range(4)]
    for writer in writers:
        writer.start()
        writer.join()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["1.k.h"]
    assert maildir.settle(tmp_path, ["1.k.h", "2.k.h"]) == {"1.k.h"}


def test_failed_maildir_creation_reports_the_cause(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be written: Not a directory"):
        maildir.prepare(tmp_path / "file" / "box")


def test_maildir_outside_the_configured_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    maildir.allow_below([tmp_path])
    try:
        maildir.prepare(tmp_path / "mail" / "box")
        for path in (tmp_path / "link" / "box", tmp_path / ".." / "box", Path("/etc/box")):
            with pytest.raises(Unavailable, match="not below a folder of PORTAL_MAILDIR_ROOTS"):
                maildir.prepare(path)
    finally:
        maildir.allow_below([])


def test_group_may_read_messages_only_where_it_may_write_to_the_folder(tmp_path: Path) -> None:
    maildir.prepare(tmp_path / "own")
    maildir.deliver(tmp_path / "own", [("1.a.x", BytesIO(b"private"))])
    assert (tmp_path / "own/new/1.a.x").stat().st_mode & 0o777 == 0o600
    (tmp_path / "own/tmp").chmod(0o2770)
    maildir.deliver(tmp_path / "own", [("2.a.x", BytesIO(b"for the help desk"))])
    assert (tmp_path / "own/new/2.a.x").stat().st_mode & 0o777 == 0o640
