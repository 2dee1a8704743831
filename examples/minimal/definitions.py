"""One Canvas, with the models that most users need."""

from pathlib import Path

from canvas_sync_dagster import CanvasSync

sync = CanvasSync.from_file(Path(__file__).with_name("canvas_sync.yaml"))
defs = sync.definitions()
