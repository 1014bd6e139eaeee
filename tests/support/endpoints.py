"""Helpers that list the endpoints of the web application."""

from flask import Flask

#: The callback checks access itself: a mailbox owner with a sign-in link is not a user. The API requires API keys.
PUBLIC = {
    "sessions.login", "sessions.login_at", "sessions.login_by_proxy", "sessions.answer", "second_factor.code", "second_factor.passkey", "sessions.setup", "health.alive", "health.ready", "health.for_prometheus", "security_contact.text", "static", "sign_ins.owner", "callback.answer",
    "api.token", "api.send", "api.health", "api.description",
    "api.read_configuration", "api.apply_configuration", "api.configuration_schema",
}  # fmt: skip


ARGUMENTS: dict[str, object] = {"config_id": 1, "token_id": 1, "account_id": 1, "row_id": 1, "run_id": 1, "user_id": 1,
                                "secret_id": 1, "draft_id": 1, "message_id": 1, "call_id": 1, "notice_id": 1, "kind": "mail-account"}  # fmt: skip


def rules(app: Flask, method: str) -> list[tuple[str, str]]:
    """Return each endpoint that accepts the method, with an example path."""
    found = []
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if method in (rule.methods or ()):
                values = {name: ARGUMENTS.get(name, "x") for name in rule.arguments}
                found.append((rule.endpoint, str(rule.build(values)[1])))  # type: ignore[index]
    return found
