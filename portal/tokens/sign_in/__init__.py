"""The ways a mailbox owner signs in: authorization code, device code, a link for the owner."""
