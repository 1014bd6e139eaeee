"""Operators of named token configurations."""
from peewee import *


def up(migrator, db):
    class User(Model):
        class Meta:
            database = db
            table_name = "user"

    class TokenConfig(Model):
        class Meta:
            database = db
            table_name = "token_config"

    class UserConfig(Model):
        user = ForeignKeyField(User, on_delete="CASCADE")
        token_config = ForeignKeyField(TokenConfig, on_delete="CASCADE")

        class Meta:
            database = db
            table_name = "user_config"
            indexes = ((("user", "token_config"), True),)

    db.create_tables([UserConfig])
    migrator.migrate(migrator.add_column("user", "is_limited", BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("user", "is_limited"))
    db.execute_sql("DROP TABLE user_config")
