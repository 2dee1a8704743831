"""An inbox needs its tables."""

import pytest


@pytest.fixture
def database_url(migrated_url: str) -> str:
    return migrated_url
