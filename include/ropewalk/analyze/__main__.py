"""``python -m ropewalk.analyze``: the stage as a service."""

from ropewalk.kernel.service import main

main("ropewalk.analyze.stage")
