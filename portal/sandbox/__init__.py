"""A provider and a mail server on this machine alone, to try the portal out. Only `run --sandbox` imports it."""
