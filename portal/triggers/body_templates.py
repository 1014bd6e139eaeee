"""Body templates of web services: rendered in a process of their own, with a limit for its time and memory."""

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from portal.core.errors import Refused
from portal.core.language import _

#: Longer than any useful template needs, also with the largest message.
SECONDS = 10.0
_COMMAND = [sys.executable, "-m", "portal.triggers.sandboxed_rendering"]


class _Renderer:
    """The rendering process of this process, started at the first template and kept for the next ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By the process that started it: a forked process must not share the pipes of the one it was forked from.
        self._processes: dict[int, subprocess.Popen[str]] = {}

    def ask(self, template: str, variables: dict[str, Any] | None) -> dict[str, str]:
        """Return the answer of the process; an empty one if it was killed, for its time or memory."""
        request = json.dumps({"template": template, "variables": variables}) + "\n"
        with self._lock:
            # A second time, because the process may have ended while it was idle.
            return self._exchange(request) or self._exchange(request)

    def _exchange(self, request: str) -> dict[str, str]:
        process, line, began = self._running(), "", time.monotonic()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            pass
        finally:
            timer.cancel()
        if not line:
            self.end()
            return {"fault": ""} if time.monotonic() - began >= SECONDS else {}
        answer: dict[str, str] = json.loads(line)
        return answer

    def _running(self) -> "subprocess.Popen[str]":
        present = self._processes.get(os.getpid())
        if present is None or present.poll() is not None:
            self.end()
            environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
            self._processes[os.getpid()] = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                encoding="utf-8", env=environment,
            )  # fmt: skip
        return self._processes[os.getpid()]

    def end(self) -> None:
        if process := self._processes.pop(os.getpid(), None):
            process.kill()
            process.communicate()


_renderer = _Renderer()
atexit.register(_renderer.end)


def check(template: str) -> None:
    """Raise Refused, with the reason, if the template has a syntax error."""
    _ask(template, None)


def render(template: str, variables: dict[str, Any]) -> str:
    """Render the template. Raises Refused, with the reason, on failure."""
    return _ask(template, variables)


def _ask(template: str, variables: dict[str, Any] | None) -> str:
    answer = _renderer.ask(template, variables)
    if "text" in answer:
        return answer["text"]
    reason = answer.get("fault") or _("it takes longer than {seconds:.0f} seconds, or too much memory", seconds=SECONDS)
    raise Refused(_("The body template cannot be rendered: {reason}", reason=reason))
