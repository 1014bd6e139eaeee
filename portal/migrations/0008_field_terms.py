"""Tables, columns and values in the terms of the field; no data changes its meaning."""

TABLES = {"hand_out": "usage_count", "tally": "metric_counter", "unknown_answer": "unmatched_response"}
COLUMNS = [
    ("token", "look_at", "due_at"),
    ("token", "doubted_at", "first_refused_at"),
    ("token", "end_note", "expiry_note"),
    ("mail_account", "look_at", "due_at"),
    ("outbound_profile", "look_at", "due_at"),
    ("device_sign_in", "look_at", "due_at"),
    ("web_service_call", "look_at", "due_at"),
    ("web_service", "most_tries", "max_attempts"),
    ("web_service", "occasions", "triggers"),
    ("api_key", "may_watch", "may_read_health"),
    ("usage_count", "borrower", "client"),
    ("unmatched_response", "place", "source"),
    ("unmatched_response", "words", "response"),
    ("notice", "tone", "severity"),
    ("notice", "words", "response"),
    ("notice", "standing_still", "affected"),
    ("notice", "was_broken", "was_critical"),
    ("notice", "told_at", "notified_at"),
    ("notice", "end_told_at", "resolution_notified_at"),
    ("notice", "telling_failure", "notification_failure"),
    ("notice", "known_until", "acknowledged_until"),
    ("notice", "known_by", "acknowledged_by"),
    ("notice", "known_comment", "acknowledged_comment"),
]
#: Old name, new name, table, columns; the names are those that peewee gives to new indexes.
INDEXES = [
    ("token_look_at", "token_due_at", "token", "due_at"),
    ("devicesignin_look_at", "devicesignin_due_at", "device_sign_in", "due_at"),
    ("mailaccount_look_at", "mailaccount_due_at", "mail_account", "due_at"),
    ("outboundprofile_look_at", "outboundprofile_due_at", "outbound_profile", "due_at"),
    ("webservicecall_look_at", "webservicecall_due_at", "web_service_call", "due_at"),
    ("handout_api_key_id", "usagecount_api_key_id", "usage_count", "api_key_id"),
    ("handout_token_id", "usagecount_token_id", "usage_count", "token_id"),
]
UNIQUE_INDEXES = [
    ("handout_key", "usagecount_key", "usage_count", "key"),
    ("tally_name_outcome", "metriccounter_name_outcome", "metric_counter", "name, outcome"),
    ("unknownanswer_place_pattern", "unmatchedresponse_source_pattern", "unmatched_response", "source, pattern"),
]
SEVERITIES = {"good": "ok", "broken": "critical"}


def up(migrator, db):
    for old, new in TABLES.items():
        db.execute_sql(f"ALTER TABLE {old} RENAME TO {new}")
    for table, old, new in COLUMNS:
        db.execute_sql(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _rename_indexes(db, back=False)
    for old, new in SEVERITIES.items():
        db.execute_sql(f"UPDATE notice SET severity = '{new}' WHERE severity = '{old}'")


def down(migrator, db):
    for old, new in SEVERITIES.items():
        db.execute_sql(f"UPDATE notice SET severity = '{old}' WHERE severity = '{new}'")
    _rename_indexes(db, back=True)
    for table, old, new in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    for old, new in TABLES.items():
        db.execute_sql(f"ALTER TABLE {new} RENAME TO {old}")


def _rename_indexes(db, *, back):
    """SQLite cannot rename an index."""
    for kind, indexes in (("INDEX", INDEXES), ("UNIQUE INDEX", UNIQUE_INDEXES)):
        for old, new, table, columns in indexes:
            quoted = ", ".join(f'"{column}"' for column in columns.split(", "))
            db.execute_sql(f'DROP INDEX "{new if back else old}"')
            db.execute_sql(f'CREATE {kind} "{old if back else new}" ON "{table}" ({quoted})')
