"""The scope that a token was signed in with, which a later change of the configuration does not change."""
from peewee import TextField


def up(migrator, db):
    migrator.migrate(migrator.add_column("token", "requested_scope", TextField(null=True)))
    db.execute_sql(
        "UPDATE token SET requested_scope = (SELECT scope FROM token_config WHERE token_config.id = token_config_id)"
        " WHERE signed_in_at IS NOT NULL AND refresh_token IS NOT NULL"
    )


def down(migrator, db):
    migrator.migrate(migrator.drop_column("token", "requested_scope"))
