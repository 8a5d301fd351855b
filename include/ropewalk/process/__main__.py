"""The process stage as a service."""

from __future__ import annotations

from ropewalk.kernel.service import main

main("ropewalk.process.stage")
