"""A provider and a mail server on this machine alone, to try the portal out. Nothing of the product imports it."""
