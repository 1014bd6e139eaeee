"""Certificates of an app registration at Microsoft, added and removed by the app itself.

https://learn.microsoft.com/graph/api/application-addkey, …/application-removekey,
https://learn.microsoft.com/graph/application-rollkey-prooftoken.
An app needs no permission to change its own certificates; it proves that it holds the key of a valid one.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import RSAKey
from requests import Response

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.protocols import graph, http
from portal.protocols.http import Request
from portal.protocols.token_responses import json_object, one_line, retry_after

#: The application ID of the directory service, which both requests are meant for.
_AUDIENCE = "00000002-0000-0000-c000-000000000000"
#: Microsoft accepts ten minutes at most; less, because the clocks may differ.
_LIFE = timedelta(minutes=8)
_MAX_ID = 100


@dataclass(frozen=True)
class AppRegistration:
    """The app registration, and a valid certificate of it (both PEM) that proves who sends the requests.

    ``origin``: ``https://graph.microsoft.com``, or of another cloud. ``token``: an app-only access token for it.
    """

    origin: str
    object_id: str
    token: Secret
    certificate: str
    private_key: Secret


def add_key(app: AppRegistration, certificate: str, *, now: datetime) -> str:
    """Add a certificate (PEM) and return the ID that Microsoft gives it; empty: it gives none."""
    der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)
    key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": b64encode(der).decode()}
    found = _post(app, "addKey", {"keyCredential": key, "passwordCredential": None}, now)
    return one_line(found.get("keyId"))[:_MAX_ID]


def remove_key(app: AppRegistration, key_id: str, *, now: datetime) -> None:
    """Remove the certificate with this ID. Refused if Microsoft does not know it."""
    _post(app, "removeKey", {"keyId": key_id}, now)


def _post(app: AppRegistration, act: str, body: dict[str, object], now: datetime) -> dict[str, object]:
    content = json.dumps(body | {"proof": _proof(app, now)}).encode()
    headers = {"Authorization": f"Bearer {app.token.reveal()}", "Content-Type": "application/json"}
    url = f"{app.origin}/v1.0/applications/{app.object_id}/{act}"
    response = http.exchange(Request("POST", url, headers, content), seconds=http.TOTAL_SECONDS)
    if response.status_code == 204:
        return {}
    if response.status_code < 300:
        return dict(json_object(response, urlsplit(url).netloc))
    raise _error(response)


def _proof(app: AppRegistration, now: datetime) -> str:
    certificate = x509.load_pem_x509_certificate(app.certificate.encode())
    thumbprint = certificate.fingerprint(SHA1())  # noqa: S303 - an identifier, not a protection
    x5t = urlsafe_b64encode(thumbprint).decode().rstrip("=")
    header = {"alg": "RS256", "typ": "JWT", "x5t": x5t, "kid": thumbprint.hex().upper()}
    begin, end = int(now.timestamp()), int((now + _LIFE).timestamp())
    claims = {"aud": _AUDIENCE, "iss": app.object_id, "nbf": begin, "exp": end}
    return jwt.encode(header, claims, RSAKey.import_key(app.private_key.reveal()))


def _error(response: Response) -> Refused | Unavailable:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    found = body if isinstance(body, dict) else {}
    answer = graph.answer_of(response.status_code, found, response.headers.get("request-id", ""))
    if response.status_code in (408, 429) or response.status_code >= 500:
        return Unavailable(str(answer), answer, retry_after(response))
    return Refused(str(answer), answer)
