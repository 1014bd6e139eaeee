"""Pages: one file a word. A view loads, asks a verb and answers; it holds no rule."""

from flask import Flask

from portal.views import (
    callback,
    destinations,
    events,
    health,
    home,
    mail_accounts,
    quarantine,
    runs,
    sessions,
    settings,
    sign_ins,
    status,
    tokens,
    transfer,
    users,
)


def init_app(app: Flask) -> None:
    pages = (
        home, sessions, transfer, tokens, sign_ins, mail_accounts, quarantine, destinations, runs, events, settings,
        users, status, health,
    )  # fmt: skip
    for module in pages:
        app.register_blueprint(module.bp)
    # Last: it answers the paths that nothing else does.
    app.register_blueprint(callback.bp)
