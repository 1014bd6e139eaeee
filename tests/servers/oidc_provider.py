"""The npm package oidc-provider, a real OAuth 2.0 authorization server."""

import json
import ssl
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENT_ID, CLIENT_SECRET = "mail-token-portal", "real-client-secret-Vq81LLzPw0c"


def client(redirect_uri: str, **changes: Any) -> dict[str, Any]:
    """Return the registration data of a client."""
    return {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_post",
        **changes,
    }


@dataclass
class Provider:
    """The npm package oidc-provider."""

    process: "subprocess.Popen[str]"
    port: int
    ca_file: Path

    @classmethod
    def start(
        cls, certificates: Path, redirect_uri: str, *, access_token_seconds: int = 20, clients: list[Any] | None = None
    ) -> "Provider":
        wanted = {
            "key": str(certificates / "server.key"),
            "certificate": str(certificates / "server.pem"),
            "clients": clients or [client(redirect_uri)],
            "accessTokenSeconds": access_token_seconds,
        }
        process = subprocess.Popen(
            ["node", str(Path(__file__).parent / "provider" / "provider.mjs"), json.dumps(wanted)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.strip().isdigit()), "")
        assert line, "the provider did not start"
        return cls(process, int(line), certificates / "ca.pem")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def revoke_everything(self) -> None:
        self._ask("/revoke-everything", b"")

    def grants(self, count: int) -> list[str]:
        """Sign in ``count`` accounts of the first client; return their refresh tokens."""
        return json.loads(self._ask("/grants", str(count).encode()))  # type: ignore[no-any-return]

    def story(self) -> list[dict[str, str]]:
        """Return each refresh so far: presented token, issued token (or None), error (or None)."""
        return json.loads(self._ask("/story"))  # type: ignore[no-any-return]

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(f"{self.url}{path}", body, context=context) as response:
            assert response.status == 200
            return response.read()  # type: ignore[no-any-return]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
