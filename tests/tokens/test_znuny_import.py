"""Import of token configurations that Znuny 6.3 to 7.2 exported, and what the portal leaves out of them."""

import json
from typing import Any

import pytest
import yaml

from portal.core.encryption import Secret
from portal.models import TokenConfig, Validity
from portal.tokens import import_export
from portal.tokens.import_export import Verdict
from tests.builders import NOW
from tests.support.znuny import plan, znuny

pytestmark = pytest.mark.usefixtures("db")
LOGIN = "https://login.microsoftonline.com"


def test_znuny_export_without_auth_flow_is_imported() -> None:
    import_export.apply(plan([znuny("Outlook (a@outlook.com)")]), actor="Alice", now=NOW)
    row = TokenConfig.get()
    assert (row.template, row.client_id, row.flow.value) == ("microsoft-consumers", "1111", "authorization_code")
    assert (row.notify_expired_token, row.notify_expired_refresh_token) == (True, True)
    assert row.client_secret.value == Secret("1111")
    assert row.authorize_url == "https://login.microsoftonline.com/consumers/oauth2/v2.0/authorize"


@pytest.mark.parametrize(("valid_id", "validity"), [(1, "valid"), (2, "invalid"), (3, "invalid-temporarily")])
def test_znuny_valid_id_and_single_record_are_imported(valid_id: int, validity: str) -> None:
    import_export.apply(plan({**znuny("One"), "ValidID": valid_id}), actor="Alice", now=NOW)
    assert TokenConfig.get().validity == Validity(validity)


def test_znuny_flows_and_providers_map_to_templates() -> None:
    def at(url: str, request: str = "TokenByAuthorizationCode", **more: Any) -> dict[str, Any]:
        return znuny(url, Requests={request: {"Request": {"URL": url}}, **more})

    google = at("https://oauth2.googleapis.com/token")
    step = {"Request": {"URL": "https://oauth2.googleapis.com/token"}}
    google["Config"]["Requests"] |= {
        "AuthorizationCode": step,
        "TokenByRefreshToken": {"Request": dict(step["Request"])},
    }
    app = at("https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token", "TokenByClientCredentials")
    app["Config"] |= {"AuthFlow": "ClientCredentials", "Scope": "https://outlook.office365.com/.default"}
    import_export.apply(plan([google, app]), actor="Alice", now=NOW)
    found = {row.template: row for row in TokenConfig.select()}
    assert set(found) == {"google", "microsoft-app"}
    assert found["microsoft-app"].tenant == "contoso.test"


def app_only(name: str, tenant: str, scope: str) -> dict[str, Any]:
    url = f"{LOGIN}/{tenant}/oauth2/v2.0/token"
    requests = {
        "TokenByClientCredentials": {"Request": {"URL": url, "Parameters": {"grant_type": "client_credentials"}}}
    }
    return znuny(name, AuthFlow="ClientCredentials", Scope=scope, Requests=requests)


@pytest.mark.parametrize(
    ("scope", "template"),
    [
        ("https://graph.microsoft.com/Mail.ReadWrite offline_access", "microsoft-graph-tenant"),
        ("https://outlook.office.com/IMAP.AccessAsUser.All offline_access", "microsoft-tenant"),
        ("offline_access https://graph.microsoft.com/IMAP.AccessAsUser.All", "microsoft-tenant"),
    ],
)
def test_graph_and_exchange_are_told_apart_by_the_scope(scope: str, template: str) -> None:
    base = f"{LOGIN}/contoso.test/oauth2/v2.0"
    urls = {"AuthorizationCode": "authorize", "TokenByAuthorizationCode": "token", "TokenByRefreshToken": "token"}
    requests = {name: {"Request": {"URL": f"{base}/{path}"}} for name, path in urls.items()}
    import_export.apply(plan([znuny("M", Scope=scope, Requests=requests)]), actor="Alice", now=NOW)
    assert (TokenConfig.get().template, TokenConfig.get().scope) == (template, scope)


def test_app_only_graph_configuration_is_imported() -> None:
    steps = plan([app_only("M", "contoso.test", "https://graph.microsoft.com/.default")])
    import_export.apply(steps, actor="Alice", now=NOW)
    assert TokenConfig.get().template == "microsoft-graph-app"


def test_znunys_app_only_template_is_imported_as_invalid_until_a_tenant_is_entered() -> None:
    """Znuny 7.2 ships it with common, which cannot work at Microsoft."""
    (step,) = plan([app_only("M", "common", "https://outlook.office.com/.default")])
    assert step.verdict is Verdict.NEW
    assert any("AADSTS9001023" in note for note in step.notes)
    import_export.apply([step], actor="Alice", now=NOW)
    assert TokenConfig.get().validity is Validity.INVALID_TEMPORARILY


def test_configuration_stored_as_json_text_is_read() -> None:
    record = znuny("M")
    (step,) = plan([{**record, "Config": json.dumps(record["Config"])}])
    assert step.verdict is Verdict.NEW
    assert step.fields is not None
    assert step.fields.client_id == "1111"


def test_perl_booleans_are_read() -> None:
    text = yaml.safe_dump([znuny("M", Notifications={})])
    perl = "Notifications:\n      NotifyOnExpiredToken: !!perl/scalar:JSON::PP::Boolean 1\n"
    (step,) = import_export.plan(text.replace("Notifications: {}\n", perl).encode(), overwrite=False)
    assert step.fields is not None
    assert step.fields.notify_expired_token


def test_other_tags_stay_forbidden() -> None:
    from portal.core.strict_yaml import InvalidYaml

    with pytest.raises(InvalidYaml, match="tag"):
        plan(b"- Name: !!perl/hash:Evil {a: 1}\n")


def test_constant_parameters_are_kept() -> None:
    record = znuny("M")
    requests = record["Config"]["Requests"]
    constants = {"response_type": "code", "prompt": "select_account", "domain_hint": "x.test"}
    requests["AuthorizationCode"]["Request"]["Parameters"] = constants
    import_export.apply(plan([record]), actor="Alice", now=NOW)
    assert TokenConfig.get().authorize_parameters == "domain_hint=x.test&prompt=select_account"


def test_what_is_left_out_is_named() -> None:
    record = znuny("M", Custom="x")
    record["Config"]["Requests"]["TokenByMagic"] = {}
    mapping = {"access_token": "Token", "expires": "TokenExpirationDate"}
    record["Config"]["Requests"]["TokenByRefreshToken"]["Response"] = {"ParametersMapping": mapping}
    (step,) = plan([record])
    assert step.notes[0] == ("Not imported: Custom, TokenByMagic, the response field expires of TokenByRefreshToken.")
    assert "does not reveal which account signs in" in step.notes[1]
