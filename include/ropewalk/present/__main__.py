"""``python -m ropewalk.present``: the stage as a service."""

from ropewalk.kernel.service import main

main("ropewalk.present.stage")
