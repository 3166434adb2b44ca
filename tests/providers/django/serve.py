"""A site made with Django OAuth Toolkit on a free loopback port, its database in a temporary directory.

    python serve.py --redirect-uri http://127.0.0.1:8090/auth/callback

The first line on standard output says where it is and what it knows:
    {"event":"ready","issuer":"http://127.0.0.1:NNNN/o","clients":[…],"password":"…"}
After that, one JSON line per request to the token endpoint:
    {"event":"token","grant_type":"refresh_token","basic":true,"status":200}
When standard input ends, so does the site.

`nexus-plain` is OAuth 2.0 without OpenID Connect; its id and secret hold what a form has to encode. `nexus-hmac`
gets id tokens that are signed with its secret.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import threading

import django
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse

LOGIN = """<!DOCTYPE html><title>Sign in</title>
<form method="post">{% csrf_token %}{{ form.as_p }}<button>Sign in</button></form>"""
PLAIN = "nexus: plain+100%/é"


def say(**line):
    print(json.dumps(line), flush=True)


def configure(directory, issuer):
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(directory, "site.db")}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider",
        ],
        LOGGING_CONFIG=None,
        LOGIN_URL="/accounts/login/",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "__main__.told",
        ],
        OAUTH2_PROVIDER={
            "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
            "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": issuer,
            "PKCE_REQUIRED": True,
            "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
            "ROTATE_REFRESH_TOKEN": True,
            "SCOPES": {"openid": "Know who you are", "read": "Read", "write": "Write"},
        },
        # A hasher that is slow, as it should be, would be what the tests wait for.
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_urlsafe(32),
        TEMPLATES=[{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": ["django.template.context_processors.request"],
                "loaders": [
                    ("django.template.loaders.locmem.Loader", {"registration/login.html": LOGIN}),
                    "django.template.loaders.app_directories.Loader",
                ],
            },
        }],
        USE_TZ=True,
    )
    django.setup()


def told(get_response):
    """Says what the token endpoint is asked and answers."""

    def middleware(request):
        response = get_response(request)
        if request.path == "/o/token/":
            basic = request.headers.get("authorization", "").startswith("Basic ")
            say(event="token", grant_type=request.POST.get("grant_type"), basic=basic, status=response.status_code)
        return response

    return middleware


def pages():
    # Only after the setup can these be imported.
    from django.contrib.auth.views import LoginView
    from django.urls import include, path
    from oauth2_provider.decorators import protected_resource

    @protected_resource(scopes=["read"])
    def me(request):
        return JsonResponse({"name": request.resource_owner.username})

    return [
        path("accounts/login/", LoginView.as_view()),
        path("api/me", me),
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    ]


def populate(redirect_uri):
    from django.contrib.auth.models import User
    from oauth2_provider.models import Application

    password = secrets.token_urlsafe(12)
    clients = {
        PLAIN: {"client_secret": f"s: +/%é&={secrets.token_urlsafe(24)}", "algorithm": ""},
        "nexus-hmac": {"client_secret": secrets.token_urlsafe(32), "algorithm": "HS256", "hash_client_secret": False},
    }
    call_command("migrate", verbosity=0)
    User.objects.create_user("alice", password=password)
    for client_id, rest in clients.items():
        Application.objects.create(
            client_id=client_id, name=client_id, client_type="confidential", redirect_uris=redirect_uri,
            authorization_grant_type="authorization-code", **rest,
        )
    secret = {client_id: rest["client_secret"] for client_id, rest in clients.items()}
    return password, [{"client_id": client_id, "client_secret": secret[client_id]} for client_id in clients]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--redirect-uri", required=True)
    options = parser.parse_args()
    # The library refuses plain HTTP otherwise, on a loopback port too.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    with tempfile.TemporaryDirectory(prefix="nexus-django-") as directory:
        server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
        server.daemon_threads = True
        issuer = f"http://127.0.0.1:{server.server_port}/o"
        configure(directory, issuer)
        globals()["urlpatterns"] = pages()
        password, clients = populate(options.redirect_uri)
        server.set_app(get_wsgi_application())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(event="ready", issuer=issuer, clients=clients, password=password)
        sys.stdin.read()


main()
