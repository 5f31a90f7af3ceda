"""The process in which a peer lives: it runs in the peers' own virtual environment and imports no vmpool."""
