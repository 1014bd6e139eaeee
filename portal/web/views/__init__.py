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
    identity_providers,
    mail_accounts,
    notice_channels,
    notices,
    outbound,
    outbound_messages,
    profile,
    published,
    quarantine,
    runs,
    search,
    second_factor,
    security_contact,
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
        home, sessions, second_factor, profile, transfer, tokens, published, sign_ins, mail_accounts, quarantine,
        destinations, outbound, outbound_messages, web_services, runs, events, settings, users, identity_providers,
        api_keys, notice_channels, notices, diagnosis, search, status, health, security_contact, api,
    )  # fmt: skip
    for module in pages:
        app.register_blueprint(module.bp)
    # Last: its route matches every path that no other blueprint handles.
    app.register_blueprint(callback.bp)
