"""Says by its exit whether a container is ready: ``healthy.py PORT PATH [COMPONENT [HOST]]``.

It wants a 200, and for a component of Airflow the word ``healthy`` in the answer. Standard library alone: it is run
every few seconds in every container.
"""

import json
import sys
from http import HTTPStatus
from http.client import HTTPConnection

port, path, *more = sys.argv[1:]
component, host = (*more, *("", "127.0.0.1")[len(more) :])
connection = HTTPConnection(host, int(port), timeout=5)
connection.request("GET", path)
answer = connection.getresponse()
body = answer.read()
if answer.status != HTTPStatus.OK:
    sys.exit(f"{answer.status} {body.decode(errors='replace')[:500]}")
if component and json.loads(body)[component]["status"] != "healthy":
    sys.exit(f"{component} is not healthy")
