import threading
from pathlib import Path

import pytest

from portal.core.errors import Unavailable
from portal.protocols import maildir


def test_deliveries_at_once_take_the_same_name_once(tmp_path: Path) -> None:
    from io import BytesIO

    maildir.prepare(tmp_path)
    writers = [threading.Thread(target=maildir.deliver, args=(tmp_path, [("1.k.h", BytesIO(b"x"))])) for _ in range(4)]
    for writer in writers:
        writer.start()
        writer.join()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["1.k.h"]
    assert maildir.settle(tmp_path, ["1.k.h", "2.k.h"]) == {"1.k.h"}


def test_a_maildir_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be written: Not a directory"):
        maildir.prepare(tmp_path / "file" / "box")
