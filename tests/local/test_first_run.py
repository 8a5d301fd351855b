"""The first run is followed through what Airflow does not answer at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from ropewalk.contracts.errors import RetryableError
from ropewalk.local.first_run import TRIES, _json

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\nconnection: close\r\n\r\n{"state":"success"}'


class Slow:
    """A server that reads requests and says nothing, but to the last that is waited for."""

    def __init__(self, answered: int) -> None:
        self._answered, self.asked = answered, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            client.recv(65_536)
            self.asked += 1
            self._kept.append(client)
            if self.asked == self._answered:
                client.sendall(ANSWER)

    def close(self) -> None:
        """Stop, and end every connection."""
        for one in (self._socket, *self._kept):
            one.close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client that waits for a moment alone."""
    with httpx.Client(timeout=httpx.Timeout(5, read=0.2), trust_env=False) as one:
        yield one


def test_an_answer_that_does_not_come_is_asked_for_again(client: httpx.Client) -> None:
    slow = Slow(answered=3)
    assert _json(client, slow.url) == {"state": "success"}
    assert slow.asked == 3
    slow.close()


def test_who_never_answers_is_told_and_where_to_look(client: httpx.Client) -> None:
    slow = Slow(answered=0)
    with pytest.raises(RetryableError, match="Airflow does not answer: timed out") as caught:
        _json(client, slow.url)
    assert caught.value.hint == "make logs ARGS=airflow-api-server"
    assert slow.asked == TRIES
    slow.close()
