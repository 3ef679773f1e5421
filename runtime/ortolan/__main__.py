"""``python -m ortolan``."""

from ortolan.cli import main

main()
