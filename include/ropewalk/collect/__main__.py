"""``python -m ropewalk.collect``: the stage as a service."""

from ropewalk.kernel.service import main

main("ropewalk.collect.stage")
