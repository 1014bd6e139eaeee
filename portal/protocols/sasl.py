"""SASL for mail: XOAUTH2 (Google, Microsoft), OAUTHBEARER (RFC 7628) and PLAIN (RFC 4616); what a refusal says."""

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass

from portal.core.encryption import Secret
from portal.protocols.dialogue import Dialogue


@dataclass(frozen=True)
class Credential:
    """Who signs in, and with what: exactly one of token and password."""

    login: str
    token: Secret | None = None
    password: Secret | None = None


def mechanism(credential: Credential, offered: Collection[str]) -> str | None:
    """The mechanism to use of those that a server offers (upper case); None: only its own way to take a password.

    With a token it is XOAUTH2 unless only OAUTHBEARER is offered: Microsoft does not advertise either before TLS.
    """
    if credential.token is None:
        return "PLAIN" if "PLAIN" in offered else None
    return "OAUTHBEARER" if "OAUTHBEARER" in offered and "XOAUTH2" not in offered else "XOAUTH2"


def first_response(mechanism: str, credential: Credential, host: str, port: int) -> bytes:
    """What the client says first, not yet in Base64."""
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
    """Everything of it that may go over the wire, in whatever form."""
    secret = credential.token or credential.password
    assert secret is not None
    dialogue.hide(secret.reveal().encode())
    # As IMAP quotes it (RFC 3501 section 4.3).
    dialogue.hide(secret.reveal().replace("\\", "\\\\").replace('"', '\\"').encode())
    for name in ("XOAUTH2", "OAUTHBEARER") if credential.token else ("PLAIN",):
        dialogue.hide(first_response(name, credential, host, port))


def answer_to_refusal(mechanism: str) -> bytes:
    """What ends an exchange that the server has refused with a challenge: RFC 7628 section 3.2.3; else nothing."""
    return b"\x01" if mechanism == "OAUTHBEARER" else b""


def reason(challenge: bytes) -> str:
    """What a refusing challenge says, in Base64 or not: ``status 401``; empty when it says nothing readable."""
    for text in (challenge, _base64(challenge)):
        try:
            return f"status {json.loads(text)['status']}"
        except (ValueError, KeyError, TypeError):
            continue
    return ""


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
