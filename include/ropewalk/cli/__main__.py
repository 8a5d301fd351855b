"""``python -m ropewalk.cli``: the command ``ropewalk``."""

from ropewalk.cli import main

main()
