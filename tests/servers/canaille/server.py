"""The identity provider Canaille on loopback, run by the Python of its own virtual environment.

Arguments: port, client ID, client secret, redirect URI, address after the logout, password of the user "olga".
"""

import sys

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey

port, client_id, client_secret, redirect_uri, after_logout, password = sys.argv[1:]
app = create_app(
    {
        "SECRET_KEY": "a key of the test provider, for its cookies",
        "SERVER_NAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory"},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [RSAKey.generate_key(2048).as_dict(private=True)]},
    }
)
with app.app_context():
    user = models.User(
        user_name="olga", emails=["olga@x.test"], formatted_name="Olga", family_name="Olga", password=password
    )
    client = models.Client(
        client_id=client_id,
        client_secret=client_secret,
        client_name="Mail Token Portal",
        client_uri="http://127.0.0.1:1",
        redirect_uris=[redirect_uri],
        post_logout_redirect_uris=[after_logout],
        grant_types=["authorization_code"],
        response_types=["code"],
        scope=["openid", "profile", "email", "groups"],
        token_endpoint_auth_method="client_secret_basic",
    )
    save = Backend.instance.save
    save(user)
    group = models.Group(display_name="mail operators", members=[user])
    save(group)
    user.groups = [group]
    save(user)
    save(client)
    # Without it, ID tokens name no audience; a client can be its own audience only when it is stored.
    client.audience = [client]
    save(client)
app.run(port=int(port))
