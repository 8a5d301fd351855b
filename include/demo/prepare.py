"""Lays out the demo's sources: ``python -m demo.prepare``, as often as one likes.

``DEMO_DATA`` is the folder for files (``flights/2013-01.csv`` …), ``DEMO_FLEET_URL`` the DSN of the
database for planes, airports and airlines. What is there in the present version is left alone.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from demo import files, fleet

log = logging.getLogger("demo")


def main() -> None:
    """Prepares both from the environment."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    made = files.prepare(Path(os.environ["DEMO_DATA"]))
    log.info("files %s", "written" if made else "in order")
    loaded = fleet.prepare(os.environ["DEMO_FLEET_URL"])
    log.info("fleet %s", "loaded" if loaded else "in order")


if __name__ == "__main__":
    main()
