"""The catalogs: one file for each language, and what finds their messages and compiles them."""
