"""Protocol clients, one per module, without database access. Server errors are raised as Refused or Unavailable."""
