from pathlib import Path
from urllib.parse import urlsplit

import pytest

from portal import providers
from portal.providers.loader import TemplateError, load, load_folder

#: Endpoint hosts and scope as in Thunderbird's OAuth2Providers.sys.mjs.
OTHERS = {
    "yahoo": ("api.login.yahoo.com", "mail-w", "imap.mail.yahoo.com", "smtp.mail.yahoo.com"),
    "aol": ("api.login.aol.com", "mail-w", "imap.aol.com", "smtp.aol.com"),
    "fastmail": (
        "api.fastmail.com",
        "https://www.fastmail.com/dev/protocol-imap",
        "imap.fastmail.com",
        "smtp.fastmail.com",
    ),
    "yandex": ("oauth.yandex.com", "mail:imap_full", "imap.yandex.com", "smtp.yandex.com"),
    "mail-ru": ("o2.mail.ru", "mail.imap", "imap.mail.ru", "smtp.mail.ru"),
    "comcast": ("oauth.xfinity.com", "https://email.comcast.net/", "imap.comcast.net", "smtp.comcast.net"),
}
GOOD = "name: Mine\norder: 1\nscope: mail\n"


def test_all_shipped_templates_load_without_errors() -> None:
    assert providers.broken() == []
    keys = {template.key for template in providers.offered()}
    kinds = ("tenant", "organizations", "app")
    graph = {f"microsoft-graph-{cloud}{kind}" for cloud in ("", "us-gov-", "china-") for kind in kinds}
    flows = {"microsoft-app", "microsoft-us-gov-app", "microsoft-china-app", "generic-app"}
    flows |= {key for key in graph if key.endswith("-app")}
    microsoft = {f"microsoft-{kind}" for kind in ("tenant", "common", "organizations", "consumers")}
    clouds = {f"microsoft-{cloud}-{kind}" for cloud in ("us-gov", "china") for kind in ("tenant", "organizations")}
    assert keys == {
        *flows,
        *microsoft,
        *clouds,
        *graph,
        "microsoft-hve",
        "google",
        "google-service-account",
        *OTHERS,
        "generic",
        "sandbox",
    }
    assert {template.key for template in providers.offered() if template.flow == "client_credentials"} == flows


@pytest.mark.parametrize(
    ("key", "login", "resource"),
    [
        ("microsoft-us-gov-tenant", "login.microsoftonline.us", "outlook.office365.us"),
        ("microsoft-china-tenant", "login.partner.microsoftonline.cn", "partner.outlook.cn"),
    ],
)
def test_national_cloud_templates_use_their_own_hosts(key: str, login: str, resource: str) -> None:
    template = providers.find(key)
    assert template.token_url == f"https://{login}/{{tenant}}/oauth2/v2.0/token"
    assert f"https://{resource}/IMAP.AccessAsUser.All" in template.scope
    app = providers.find(key.replace("tenant", "app"))
    assert (app.token_url, app.scope) == (template.token_url, f"https://{resource}/.default")


@pytest.mark.parametrize(
    ("cloud", "login", "host"),
    [
        ("", "login.microsoftonline.com", "graph.microsoft.com"),
        ("us-gov-", "login.microsoftonline.us", "graph.microsoft.us"),
        ("china-", "login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_graph_templates_match_microsoft_documentation(cloud: str, login: str, host: str) -> None:
    """https://learn.microsoft.com/graph/deployments, https://learn.microsoft.com/graph/permissions-reference"""
    for kind in ("tenant", "organizations"):
        template = providers.find(f"microsoft-graph-{cloud}{kind}")
        assert template.authorize_url == f"https://{login}/{{tenant}}/oauth2/v2.0/authorize"
        mail = {f"https://{host}/Mail.ReadWrite", f"https://{host}/Mail.Send", "offline_access"}
        assert set(template.scope.split()) == {*mail, "openid", "profile", "email"}
        assert template.scope_in_refresh
    app = providers.find(f"microsoft-graph-{cloud}app")
    assert (app.token_url, app.scope) == (f"https://{login}/{{tenant}}/oauth2/v2.0/token", f"https://{host}/.default")
    assert (app.graph_host, app.smtp_host, app.smtp_type) == (host, host, "MSGraph")


@pytest.mark.parametrize("kind", ["common", "consumers", "organizations"])
def test_microsoft_templates_match_microsoft_documentation(kind: str) -> None:
    template = providers.find(f"microsoft-{kind}")
    assert template.authorize_url.replace("{tenant}", template.tenant or "") == (
        f"https://login.microsoftonline.com/{kind}/oauth2/v2.0/authorize"
    )
    scopes = template.scope.split()
    assert "https://outlook.office.com/IMAP.AccessAsUser.All" in scopes
    assert "offline_access" in scopes
    assert not any("graph.microsoft.com" in scope for scope in scopes)
    assert template.scope_in_refresh


@pytest.mark.parametrize("key", OTHERS)
def test_templates_of_other_providers_match_thunderbirds_list(key: str) -> None:
    template, (host, scope, imap, smtp) = providers.find(key), OTHERS[key]
    assert {urlsplit(url).hostname for url in (template.authorize_url, template.token_url)} == {host}
    assert template.refresh_url == template.token_url
    assert scope in template.scope.split()
    assert (template.imap_host, template.smtp_host) == (imap, smtp)


def test_google_template_always_requests_a_refresh_token() -> None:
    template = providers.find("google")
    assert template.authorize_parameters == {"access_type": "offline", "prompt": "consent"}
    assert template.token_url == "https://oauth2.googleapis.com/token"
    assert "https://mail.google.com/" in template.scope.split()
    assert not template.scope_in_refresh


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name: [", "while parsing"),
        ("- a list", "not a map"),
        ("", "not a map"),
        ("name: Mine\norder: 1\n", "scope is missing"),
        (f"{GOOD}extra: 1\n", "'extra' is not a field"),
        (f"{GOOD}token_url: 5\n", "token_url must be a str"),
        (f"{GOOD}authorize_parameters: [a]\n", "authorize_parameters must be a dict"),
        (f"{GOOD}token_url: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
    ],
)
def test_invalid_template_error_names_file_and_reason(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(content)
    with pytest.raises(TemplateError, match=r"mine\.yml") as caught:
        load(path)
    assert reason in str(caught.value)


def test_binary_template_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateError):
        load(path)


def test_invalid_template_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text("name: [")
    templates, problems = load_folder(tmp_path)
    assert list(templates) == ["good"]
    assert len(problems) == 1
