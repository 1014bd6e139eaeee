"""The cause of a failure is stored with it, when it happens."""
from peewee import CharField

COLUMNS = [
    ("mail_account", "failure_cause"),
    ("outbound_profile", "failure_cause"),
    ("web_service", "failure_cause"),
    ("token", "failure_cause"),
    ("provider_host", "failure_cause"),
    ("token_config", "credentials_cause"),
    ("message", "failure_cause"),
    ("outbound_message", "answer_cause"),
]


def up(migrator, db):
    for table, column in COLUMNS:
        migrator.migrate(migrator.add_column(table, column, CharField(max_length=60, null=True)))


def down(migrator, db):
    for table, column in reversed(COLUMNS):
        migrator.migrate(migrator.drop_column(table, column))
