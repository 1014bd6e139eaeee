"""Used by every package, knows no row: process settings, database, errors, encryption, rules of state."""
