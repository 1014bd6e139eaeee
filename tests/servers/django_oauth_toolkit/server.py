"""django-oauth-toolkit on loopback: authorization code with PKCE, rotated refresh tokens, revocation; no metadata.

Arguments: folder of the database, port, client ID, client secret, redirect URI, password of the user "olga". The access
tokens live for 60 seconds.
"""

import sys
from pathlib import Path
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.urls import include, path

folder, port, client_id, client_secret, redirect_uri, password = sys.argv[1:]
settings.configure(
    SECRET_KEY="a key of the test provider, for its cookies",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(folder) / "provider.db"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    LOGIN_URL="/admin/login/",
    USE_TZ=True,
    OAUTH2_PROVIDER={
        "PKCE_REQUIRED": True,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "ACCESS_TOKEN_EXPIRE_SECONDS": 60,
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http"],
        "SCOPES": {"mail": "Read mail"},
    },
)
django.setup()

from django.contrib import admin  # noqa: E402 - only after django.setup()
from django.contrib.auth.models import User  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from oauth2_provider.models import Application  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls), path("o/", include("oauth2_provider.urls"))]
call_command("migrate", verbosity=0)
User.objects.create_superuser("olga", "olga@x.test", password)
Application.objects.create(
    client_id=client_id,
    client_secret=client_secret,
    redirect_uris=redirect_uri,
    client_type="confidential",
    authorization_grant_type="authorization-code",
    name="Mail Token Portal",
)
make_server("127.0.0.1", int(port), get_wsgi_application()).serve_forever()
