"""The built-in code location: settings of the environment become definitions, without network or database."""

from canvas_sync_dagster.project.builder import CanvasSync

defs = CanvasSync.from_environment().definitions()
