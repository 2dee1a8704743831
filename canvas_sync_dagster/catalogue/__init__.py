"""What exists in Canvas, as pure data."""

from canvas_sync_dagster.catalogue.headers import HeaderMatch, match_header, normalize
from canvas_sync_dagster.catalogue.model import (
    SYSTEM_COLUMNS,
    Column,
    ColumnType,
    Enrichment,
    Feed,
    Model,
    ProvisioningFeed,
    ReportFeed,
    RestFeed,
)
from canvas_sync_dagster.catalogue.models import BUILT_IN

__all__ = [
    "BUILT_IN",
    "SYSTEM_COLUMNS",
    "Column",
    "ColumnType",
    "Enrichment",
    "Feed",
    "HeaderMatch",
    "Model",
    "ProvisioningFeed",
    "ReportFeed",
    "RestFeed",
    "match_header",
    "normalize",
]
