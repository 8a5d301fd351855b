"""A stage of its own, outside Ropewalk, by which the kernel is tested; its package names its kind of plugin."""

from ropewalk.contracts.plugins import KINDS, Kind

KINDS["example"] = Kind("example", "act", "example", "tests.kernel.example.plugins")
