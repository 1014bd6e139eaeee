"""Access tokens as readable JWTs, like those of Microsoft work accounts."""

import json
from base64 import urlsafe_b64encode

from portal.core.encryption import Secret


def make_jwt(**claims: object) -> Secret:
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    coded = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return Secret(f"{'.'.join(coded)}.c2lnbmF0dXJl")
