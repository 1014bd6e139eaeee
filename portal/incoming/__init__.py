"""Incoming mail: mail accounts, the fetch, the ledger, quarantine, destinations."""
