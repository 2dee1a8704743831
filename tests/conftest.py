"""Shared fixtures live in the plugins named here."""

pytest_plugins = ["tests.fix_postgres", "tests.fix_canvas"]
