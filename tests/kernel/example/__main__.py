"""Run the example stage as a service, in the schema of ``collect``."""

from ropewalk.kernel.service import main

main("tests.kernel.example.stage")
