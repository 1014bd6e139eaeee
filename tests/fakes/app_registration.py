"""An app registration at Microsoft, with its token endpoint: built from the documentation of addKey and removeKey.

Assertions and proofs are verified with PyJWT, which the portal does not use.
"""

import base64
import json
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from werkzeug import Request, Response

from tests.fakes import http

OBJECT_ID = "11111111-2222-3333-4444-555555555555"
_AUDIENCE = "00000002-0000-0000-c000-000000000000"
_TEN_MINUTES = 600


class FakeAppRegistration:
    def __init__(self) -> None:
        #: DER certificates by key ID.
        self.certificates: dict[str, bytes] = {}
        #: Key IDs of certificates that the token endpoint does not know yet.
        self.propagating: set[str] = set()
        self.requests: list[str] = []
        #: The error of addKey; None: it succeeds.
        self.refusal: tuple[int, str, str] | None = None
        #: Whether the response to addKey is lost.
        self.loses_response = False
        self._server = http.take(self._respond)

    @property
    def url(self) -> str:
        return http.url(self._server)

    def stop(self) -> None:
        http.give_back(self._server)

    def upload(self, pem: str, key_id: str) -> None:
        """Add a certificate as a person does on the page of the app."""
        certificate = x509.load_pem_x509_certificate(pem.encode())
        self.certificates[key_id] = certificate.public_bytes(Encoding.DER)

    def _respond(self, request: Request) -> Response:
        self.requests.append(request.path.rpartition("/")[2])
        if request.path == "/token":
            return self._token(request)
        if request.headers["Authorization"] != "Bearer graph-access-token":
            return _error(401, "InvalidAuthenticationToken", "Access token is empty.")
        body = json.loads(request.data)
        if not self._is_proven(body["proof"]):
            return _error(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
        return self._add(body) if request.path.endswith("/addKey") else self._remove(body)

    def _token(self, request: Request) -> Response:
        assertion, client_id = request.form["client_assertion"], request.form["client_id"]
        thumbprint = jwt.get_unverified_header(assertion)["x5t#S256"]
        known = [der for key_id, der in self.certificates.items() if key_id not in self.propagating]
        for der in known:
            certificate = x509.load_der_x509_certificate(der)
            if _b64(certificate.fingerprint(SHA256())) == thumbprint:
                options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
                jwt.decode(assertion, _public_key(certificate), ["PS256"], audience=f"{self.url}/token",
                           issuer=client_id, options=options)  # fmt: skip
                return _json(200, {"access_token": "graph-access-token", "expires_in": 3600, "token_type": "Bearer"})
        return _json(401, {"error": "invalid_client", "error_description": "AADSTS700027: The certificate with "
                           "identifier used to sign the client assertion is not registered on application."})  # fmt: skip

    def _is_proven(self, proof: str) -> bool:
        header = jwt.get_unverified_header(proof)
        for der in self.certificates.values():
            certificate = x509.load_der_x509_certificate(der)
            if _b64(certificate.fingerprint(SHA1())) == header["x5t"]:
                options: Any = {"verify_exp": False, "verify_nbf": False, "require": ["exp", "nbf"]}
                claims = jwt.decode(proof, _public_key(certificate), ["RS256"], audience=_AUDIENCE,
                                    issuer=OBJECT_ID, options=options)  # fmt: skip
                return bool(claims["exp"] - claims["nbf"] <= _TEN_MINUTES)
        return False

    def _add(self, body: dict[str, Any]) -> Response:
        if self.refusal:
            return _error(*self.refusal)
        key = body["keyCredential"]
        assert (key["type"], key["usage"]) == ("AsymmetricX509Cert", "Verify")
        key_id = f"key-{len(self.certificates) + 1}"
        self.certificates[key_id] = base64.b64decode(key["key"], validate=True)
        if self.loses_response:
            return Response(status=503)
        return _json(200, {"keyId": key_id, "type": "AsymmetricX509Cert", "usage": "Verify", "key": None})

    def _remove(self, body: dict[str, Any]) -> Response:
        if body["keyId"] not in self.certificates:
            return _error(404, "Request_ResourceNotFound", "No credentials found to be removed.")
        del self.certificates[body["keyId"]]
        return Response(status=204)


def _public_key(certificate: x509.Certificate) -> RSAPublicKey:
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return _json(status, {"error": {"code": code, "message": message}})
