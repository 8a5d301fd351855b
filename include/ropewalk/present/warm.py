"""Imported before the fork: compiles the page's template once, for all the reports that are made after."""

from __future__ import annotations

from ropewalk.present.html import environment

environment().get_template("report.html")
