import pytest

from portal.core import errors
from portal.core.errors import InternalError, Refused


def test_unexpected_exception_becomes_an_internal_error_with_its_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(InternalError, match="The portal's log has the details"), errors.guarded("Token 7: refresh"):
        raise KeyError("a bug")
    assert "Token 7: refresh: internal error" in caplog.text
    assert "KeyError: 'a bug'" in caplog.text


def test_error_of_the_portal_passes_unchanged() -> None:
    with pytest.raises(Refused, match="invalid_grant"), errors.guarded("Token 7: refresh"):
        raise Refused("invalid_grant")
