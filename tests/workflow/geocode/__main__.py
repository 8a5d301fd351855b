"""The stage as a service."""

from ropewalk.kernel.service import main

main("tests.workflow.geocode.stage")
