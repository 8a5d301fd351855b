"""``python -m ropewalk.store``: the stage as a service."""

from ropewalk.kernel.service import main

main("ropewalk.store.stage")
