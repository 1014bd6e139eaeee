"""An edited URL sends client secrets and tokens only to the hosts that they were entered for."""

import pytest
import yaml

from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.models import ClientSecret, Event, TokenConfig
from portal.tokens import token_configs
from portal.tokens.config_fields import Fields, NewSecret
from tests.builders import NOW, fresh, make_config, make_token
from tests.support.commands import Run
from tests.support.exporting import exported
from tests.support.znuny import plan

pytestmark = pytest.mark.usefixtures("db")
EVIL = "https://evil.test/token"


def edited(config: TokenConfig, **changes: str) -> Fields:
    return Fields(**{name: getattr(config, name) for name in Fields.__dataclass_fields__} | changes)


@pytest.mark.parametrize("name", ["token_url", "refresh_url", "device_url", "revocation_url", "userinfo_url"])
def test_stored_secret_is_not_sent_to_another_host(name: str) -> None:
    config = make_config()
    with pytest.raises(Invalid, match=r"evil\.test is another host") as caught:
        token_configs.edit(config, edited(config, **{name: EVIL}), NewSecret(), actor="Eve", now=NOW)
    assert list(caught.value.fields) == ["client_secret"]
    assert getattr(TokenConfig.get(), name) != EVIL


def test_other_host_gets_the_new_secret_and_no_token() -> None:
    token = make_token()
    config = token.token_config
    entered = edited(config, token_url=EVIL, refresh_url=EVIL)
    token_configs.edit(config, entered, NewSecret(Secret("entered-again-4711")), actor="Alice", now=NOW)
    assert [row.value for row in ClientSecret.select()] == [Secret("entered-again-4711")]
    left = fresh(token)
    assert (left.access_token, left.refresh_token, left.signed_in_at) == (None, None, None)
    assert Event.get(Event.action == "token-configuration:host-changed").details.startswith("now also evil.test")


def test_public_client_keeps_no_token_for_another_host() -> None:
    token = make_token(make_config(secret=None))
    config = token.token_config
    token_configs.edit(config, edited(config, refresh_url=EVIL), NewSecret(), actor="Alice", now=NOW)
    assert fresh(token).refresh_token is None


def test_other_path_on_the_same_host_keeps_all() -> None:
    token = make_token()
    config = token.token_config
    entered = edited(config, token_url=f"{config.token_url}/v2")
    token_configs.edit(config, entered, NewSecret(), actor="Alice", now=NOW)
    assert fresh(token).refresh_token is not None
    assert ClientSecret.select().count() == 1


def test_import_and_command_line_obey_the_same_rule(run: Run) -> None:
    make_token(make_config("Mail"))
    (item,) = yaml.safe_load(exported())
    item |= {"token_url": EVIL, "refresh_url": EVIL}
    (refused,) = plan([item], overwrite=True)
    assert "evil.test is another host" in refused.why
    (step,) = plan([{**item, "client_secret": "entered-again"}], overwrite=True)
    assert "sign-ins of this configuration are removed" in step.notes[0]
    assert "is another host" in run("token-config", "edit", "Mail", "--refresh-url", EVIL, code=1).stderr
