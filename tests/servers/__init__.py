"""Real servers for tests, each on a free loopback port and in its own folder."""
