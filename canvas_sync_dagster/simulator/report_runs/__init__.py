"""Report runs: their queue, their lifecycle and their files."""
