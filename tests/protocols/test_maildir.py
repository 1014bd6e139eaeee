import threading
from pathlib import Path

import pytest

from portal.core.errors import Unavailable
from portal.protocols import maildir


def test_repeated_delivery_of_one_key_writes_one_file(tmp_path: Path) -> None:
    from io import BytesIO

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
