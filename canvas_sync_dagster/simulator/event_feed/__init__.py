"""Live events: which ones happen, how they look, and how they are signed and delivered."""
