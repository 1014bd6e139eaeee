"""The script that passes the mail of a Maildir to a help desk's program: a failing program must lose no message."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "drain-maildir"


def drain(maildir: Path, program: str) -> int:
    done = subprocess.run([SCRIPT, maildir, "sh", "-c", program], check=False, capture_output=True)
    return done.returncode


def a_maildir(folder: Path, *messages: str) -> Path:
    for name in ("tmp", "new", "cur"):
        (folder / name).mkdir()
    for number, text in enumerate(messages):
        (folder / "new" / f"{number} with spaces").write_text(text)
    return folder


def test_each_message_is_passed_once(tmp_path: Path) -> None:
    maildir = a_maildir(tmp_path, "first\n", "second\n")
    taken = tmp_path / "taken"
    assert drain(maildir, f"cat >> {taken}") == 0
    assert taken.read_text() == "first\nsecond\n"
    assert drain(maildir, f"cat >> {taken}") == 0
    assert taken.read_text() == "first\nsecond\n"


def test_program_that_is_to_be_tried_later_keeps_all_messages(tmp_path: Path) -> None:
    maildir = a_maildir(tmp_path, "first", "second")
    assert drain(maildir, "exit 75") == 75
    assert len(list((maildir / "new").iterdir())) == 2


def test_refused_message_does_not_stop_those_after_it(tmp_path: Path) -> None:
    maildir = a_maildir(tmp_path, "refused", "second\n")
    taken = tmp_path / "taken"
    assert drain(maildir, f"read line; test $line = second && echo $line >> {taken}") == 1
    assert taken.read_text() == "second\n"
    assert list((maildir / "new").iterdir()) == []
    (kept,) = (maildir / "cur").iterdir()
    assert kept.read_text() == "refused"
    assert kept.name.endswith(":2,F")


def test_second_run_leaves_the_messages_to_the_first(tmp_path: Path) -> None:
    maildir = a_maildir(tmp_path, "first")
    inner = f"{SCRIPT} {maildir} false"
    assert drain(maildir, inner) == 0
    assert list((maildir / "new").iterdir()) == []
