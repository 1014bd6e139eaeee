"""The words of a mail server that refuses a sign-in, as its administrator would read them."""

import pytest

from portal.core.encryption import Secret
from portal.core.errors import Refused
from portal.protocols import imap_session
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from tests.fakes.scripted_mail import Imap, Script, scripted


def test_refusal_of_a_password_shows_the_servers_words_only() -> None:
    script: Script = {"capabilities": "IDLE", "LOGIN": "BAD Unknown or not allowed now"}
    with scripted(Imap, script, None) as port:
        at = Server("127.0.0.1", port, Security.NONE)
        credential = Credential("desk@x.test", password=Secret("password-1"))
        with pytest.raises(Refused) as refused, imap_session.signed_in(at, credential):
            pass
    assert str(refused.value).endswith("Unknown or not allowed now")
    assert "b'" not in str(refused.value)
