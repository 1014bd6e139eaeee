"""Helpers for tests of the command line."""

import json
from collections.abc import Callable
from typing import Any

from click.testing import Result


def listed(result: Result) -> Any:
    return json.loads(result.stdout)


#: Runs a command of the portal.
Run = Callable[..., Result]
