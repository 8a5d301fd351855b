"""Says by its exit whether a container is ready: ``healthy.py PORT PATH [COMPONENT [HOST]]``.

It wants a 200, and for a component of Airflow the word ``healthy`` in the answer. Standard library alone: it is run
every few seconds in every container.
"""

import json
import os
import ssl
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection


def connect(host: str, port: int) -> HTTPConnection:
    """To a stage that speaks TLS with the stage's own certificate, whatever name that has: it asks itself."""
    if "ROPEWALK_TLS_CERT" not in os.environ:
        return HTTPConnection(host, port, timeout=5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(os.environ["ROPEWALK_TLS_CERT"], os.environ["ROPEWALK_TLS_KEY"])
    return HTTPSConnection(host, port, timeout=5, context=context)


port, path, *more = sys.argv[1:]
component, host = (*more, *("", "127.0.0.1")[len(more) :])
connection = connect(host, int(port))
connection.request("GET", path)
answer = connection.getresponse()
body = answer.read()
if answer.status != HTTPStatus.OK:
    sys.exit(f"{answer.status} {body.decode(errors='replace')[:500]}")
if component and json.loads(body)[component]["status"] != "healthy":
    sys.exit(f"{component} is not healthy")
