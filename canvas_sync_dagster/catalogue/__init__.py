"""The models of Canvas, as pure data."""

from canvas_sync_dagster.catalogue.built_in import BUILT_IN, with_carriers
from canvas_sync_dagster.catalogue.domains import Domain
from canvas_sync_dagster.catalogue.headers import HeaderMatch, match_header, normalize
from canvas_sync_dagster.catalogue.model import (
    SYSTEM_COLUMNS,
    Column,
    ColumnType,
    Enrichment,
    Events,
    Feed,
    Listing,
    Model,
    ProvisioningFeed,
    ReportFeed,
    RestFeed,
    Suffices,
)

__all__ = [
    "BUILT_IN",
    "SYSTEM_COLUMNS",
    "Column",
    "ColumnType",
    "Domain",
    "Enrichment",
    "Events",
    "Feed",
    "HeaderMatch",
    "Listing",
    "Model",
    "ProvisioningFeed",
    "ReportFeed",
    "RestFeed",
    "Suffices",
    "match_header",
    "normalize",
    "with_carriers",
]
