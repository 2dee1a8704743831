"""Two schools in one code location: nothing shared but the process, and the warehouse if you like."""

from pathlib import Path

from canvas_sync_dagster import CanvasSync

sync = CanvasSync.from_file(Path(__file__).with_name("canvas_sync.yaml"))


@sync.term_scope
def terms_with_a_date(term) -> bool:
    """Leaves out the default term, which has no dates and holds the sandboxes."""
    return term.start_at is not None


defs = sync.definitions()
