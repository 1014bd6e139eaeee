"""Events in the portal that call a web service, and the body templates of those calls."""
