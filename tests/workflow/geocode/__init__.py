"""A sixth stage, as someone else would write it: it finds the places of addresses."""

from ropewalk.contracts.plugins import KINDS, Kind

KINDS["geocoder"] = Kind("geocoder", "find", "geocode", "tests.workflow.geocode.plugins")
