"""Real servers, each on a free loopback port and in a folder of its own."""
