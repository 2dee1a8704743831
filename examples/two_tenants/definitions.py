"""Two schools in one code location. They share only the process, and the database if you choose so."""

from pathlib import Path

from canvas_sync_dagster import CanvasSync

sync = CanvasSync.from_file(Path(__file__).with_name("canvas_sync.yaml"))


@sync.term_scope
def terms_with_a_date(term) -> bool:
    """Return whether a term is in scope; the default term, which has no dates and contains sandboxes, is not."""
    return term.start_at is not None


defs = sync.definitions()
