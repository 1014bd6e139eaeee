"""Each speaks one protocol and knows no row. What the other side did is told as Refused or Unavailable."""
