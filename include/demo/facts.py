"""What the demo's data is: figures for tests and documents; a test counts each of them from the package."""

from __future__ import annotations

FLIGHTS = 336_776
JANUARY = 27_004  # by New York's calendar
FIRST_DAY = 842  # 2013-01-01 in New York
SECOND_DAY = 943
CANCELLED = 8_255  # no departure time, and so no delay
WITHOUT_PLANE = 52_606  # the tail number is missing, or `planes` has none such
WITHOUT_TAILNUM = 2_512  # … the part of them where it is missing
WITHOUT_DESTINATION = 7_602  # to Puerto Rico and the Virgin Islands, which `airports` lacks
WITHOUT_WEATHER = 1_556  # the weather ends on December 30, 18 h, and has gaps before

WEATHER = 26_115
# On November 3, the hour from 1 to 2 h came twice, at three airports: doubled by the local columns
# `year, month, day, hour`, and not by `time_hour`, which is UTC.
DOUBLED_LOCAL_HOURS = 3

PLANES = 3_322
AIRPORTS = 1_458
AIRLINES = 16
