"""SASL for mail: XOAUTH2 (Google, Microsoft), OAUTHBEARER (RFC 7628), PLAIN (RFC 4616), and their error responses."""

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass

from portal.core.encryption import Secret
from portal.protocols.dialogue import Dialogue


@dataclass(frozen=True)
class Credential:
    """A user name with either a token or a password."""

    login: str
    token: Secret | None = None
    password: Secret | None = None


def mechanism(credential: Credential, offered: Collection[str]) -> str | None:
    """Choose among the offered mechanisms (upper case); None: only the protocol's own password command is possible.

    With a token the choice is XOAUTH2 unless only OAUTHBEARER is offered: Microsoft advertises neither before TLS.
    """
    if credential.token is None:
        return "PLAIN" if "PLAIN" in offered else None
    return "OAUTHBEARER" if "OAUTHBEARER" in offered and "XOAUTH2" not in offered else "XOAUTH2"


#: OAUTHBEARER without a token: the server answers with an error that can name its authorization server.
WITHOUT_TOKEN = b"n,,\x01auth=\x01\x01"


def first_response(mechanism: str, credential: Credential, host: str, port: int) -> bytes:
    """Return the client's initial response, before Base64 encoding."""
    if mechanism == "PLAIN":
        assert credential.password is not None
        return f"\0{credential.login}\0{credential.password.reveal()}".encode()
    assert credential.token is not None
    bearer = f"auth=Bearer {credential.token.reveal()}"
    if mechanism == "XOAUTH2":
        return f"user={credential.login}\x01{bearer}\x01\x01".encode()
    name = credential.login.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\x01host={host}\x01port={port}\x01{bearer}\x01\x01".encode()


def hide(credential: Credential, dialogue: Dialogue, host: str, port: int) -> None:
    """Mask the credential in the dialogue, in every form in which it is sent."""
    secret = credential.token or credential.password
    assert secret is not None
    dialogue.hide(secret.reveal().encode())
    # In IMAP's quoted form (RFC 3501 section 4.3).
    dialogue.hide(secret.reveal().replace("\\", "\\\\").replace('"', '\\"').encode())
    for name in ("XOAUTH2", "OAUTHBEARER") if credential.token else ("PLAIN",):
        dialogue.hide(first_response(name, credential, host, port))


def answer_to_refusal(mechanism: str) -> bytes:
    """Return the client's reply to an error challenge: 0x01 for OAUTHBEARER (RFC 7628 section 3.2.3), else empty."""
    return b"\x01" if mechanism == "OAUTHBEARER" else b""


def reason(challenge: bytes) -> str:
    """Return the status in an error challenge (Base64 or plain), such as ``status 401``; empty if unreadable."""
    for text in (challenge, _base64(challenge)):
        try:
            return f"status {json.loads(text)['status']}"
        except (ValueError, KeyError, TypeError):
            continue
    return ""


def openid_configuration(challenge: bytes) -> str:
    """Return the discovery URL in an error challenge (RFC 7628 section 3.2.2); empty: there is none."""
    try:
        found = json.loads(challenge)["openid-configuration"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
