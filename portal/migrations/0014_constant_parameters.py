"""Constant parameters of the authorization and token requests; those of the templates move into the configurations."""
from urllib.parse import urlencode

from peewee import TextField

from portal import providers

COLUMNS = ("authorize_parameters", "token_parameters")


def up(migrator, db):
    for column in COLUMNS:
        migrator.migrate(migrator.add_column("token_config", column, TextField(default="")))
    mark = db.param
    for (key,) in db.execute_sql("SELECT DISTINCT template FROM token_config").fetchall():
        text = urlencode(providers.of(key).authorize_parameters)
        db.execute_sql(f"UPDATE token_config SET authorize_parameters = {mark} WHERE template = {mark}", (text, key))


def down(migrator, db):
    for column in reversed(COLUMNS):
        migrator.migrate(migrator.drop_column("token_config", column))
