"""Pages, one module per subject. A view loads rows, calls a service function and renders; it holds no rules."""

from flask import Flask

from portal.web.views import (
    api,
    api_keys,
    callback,
    destinations,
    diagnosis,
    events,
    health,
    home,
    mail_accounts,
    notices,
    outbound,
    outbound_messages,
    quarantine,
    runs,
    sessions,
    settings,
    sign_ins,
    status,
    tokens,
    transfer,
    users,
    web_services,
)


def init_app(app: Flask) -> None:
    pages = (
        home, sessions, transfer, tokens, sign_ins, mail_accounts, quarantine, destinations, outbound,
        outbound_messages, web_services, runs, events, settings, users, api_keys, notices, diagnosis, status,
        health, api,
    )  # fmt: skip
    for module in pages:
        app.register_blueprint(module.bp)
    # Last: its route matches every path that no other blueprint handles.
    app.register_blueprint(callback.bp)
