"""`python -m vmpool.cli` is the `vm` command."""

from vmpool.cli import main

main()
