"""Most syncs begin with tables that are there."""

import pytest


@pytest.fixture
def database_url(migrated_url: str) -> str:
    return migrated_url
