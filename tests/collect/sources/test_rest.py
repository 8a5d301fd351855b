"""APIs as they are met: their pages, their keys, their moods. Each is a real HTTP server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import pytest
from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RetryableError
from ropewalk.contracts.models import Report
from ropewalk.local.free_ports import free_port
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.services import StageService, running
from ropewalk.testing.sources import SourceSuite

from tests.conftest import Database
from tests.servers import serving

RECORDS = [{"n": n, "at": f"2013-01-0{n}T00:00:00Z"} for n in range(1, 6)]
SECRET = "hush-hush-hush"
Answer = tuple[int, dict[str, str], Any]


class Api:
    """A server that answers as a test says: ``answer(path, query, headers) -> (status, headers, body)``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str], Any], Answer] = lambda *_: (200, {}, RECORDS)
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                api.asked.append((parts.path, query))
                status, headers, body = api.answer(parts.path, query, self.headers)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                if "x-chunked" in headers:  # one chunk, and no end
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"5\r\n" + data[:5] + b"\r\n")
                    return
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", headers.get("x-length", str(len(data))))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                self.headers["x-form"] = self.rfile.read(size).decode()
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[Api]:
    """A running server."""
    one = Api()
    with serving(one.server):
        yield one


@pytest.fixture(autouse=True)
def connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what the connection ``shop`` is; at first the server and nothing more."""

    def connect(**fields: str) -> None:
        monkeypatch.setenv("ROPEWALK_CONNECTION_SHOP", json.dumps({"url": api.url, **fields}))

    monkeypatch.setenv("ROPEWALK_PRIVATE_HOSTS", "127.0.0.1")
    connect()
    return connect


Connect = Callable[..., None]


class TestSuite(SourceSuite):
    plugin = "rest"
    options = {"connection": "shop", "path": "/days"}
    rows = 5


class Pages(SourceSuite):
    """An API in pages of two."""

    plugin = "rest"
    rows = 5

    @pytest.fixture(autouse=True)
    def pages(self, api: Api) -> None:
        """Has the server answer in pages."""
        api.answer = lambda _, query, __: self.page(query)

    def page(self, query: dict[str, str]) -> Answer:
        """One page; to be said by each style."""
        raise NotImplementedError


class TestLinkHeader(Pages):
    options = {"connection": "shop", "paginate": {"style": "link_header"}}

    def page(self, query: dict[str, str]) -> Answer:
        at = int(query.get("from", 0))
        link = {"link": f'</?from={at + 2}>; rel="next", </>; rel="first"'} if at + 2 < 5 else {}
        return 200, link, RECORDS[at : at + 2]


class TestPage(Pages):
    options = {"connection": "shop", "paginate": {"style": "page", "size": 2, "size_param": "per"}}

    def page(self, query: dict[str, str]) -> Answer:
        at, per = (int(query["page"]) - 1) * 2, int(query["per"])
        return 200, {}, RECORDS[at : at + per]


class TestOffset(Pages):
    options = {"connection": "shop", "paginate": {"style": "offset", "param": "skip"}}

    def page(self, query: dict[str, str]) -> Answer:
        at = int(query["skip"])
        return 200, {}, RECORDS[at : at + 2]


class TestCursor(Pages):
    options = {
        "connection": "shop",
        "records": "data",
        "paginate": {"style": "cursor", "param": "after", "path": "meta.after"},
    }

    def page(self, query: dict[str, str]) -> Answer:
        at = int(query.get("after", 0))
        following = at + 2 if at + 2 < 5 else None
        return 200, {}, {"data": RECORDS[at : at + 2], "meta": {"after": following}}


class TestNextUrl(Pages):
    options = {
        "connection": "shop",
        "records": "data",
        "paginate": {"style": "next_url", "path": "next"},
    }

    def page(self, query: dict[str, str]) -> Answer:
        at = int(query.get("at", 0))
        following = f"/?at={at + 2}" if at + 2 < 5 else ""
        return 200, {}, {"data": RECORDS[at : at + 2], "next": following}


@pytest.fixture
def bench(tmp_path: Any) -> TaskBench:
    """The stage, with a dataset store of its own."""
    return TaskBench(tmp_path)


def collect(bench: TaskBench, **options: Any) -> Report:
    """The report of a step that reads the API."""
    return bench.run("collect", [("rest", {"connection": "shop", **options})])


class TestKeys:
    @pytest.mark.parametrize(
        ("fields", "auth", "header", "value"),
        [
            ({"token": SECRET}, None, "authorization", f"Bearer {SECRET}"),
            ({"token": SECRET}, {"type": "bearer"}, "authorization", f"Bearer {SECRET}"),
            ({"token": SECRET}, {"type": "api_key", "header": "X-Key"}, "x-key", SECRET),
            ({"user": "me", "password": SECRET}, {"type": "basic"}, "authorization",
             "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()),
        ],
    )  # fmt: skip
    def test_the_connections_secret_is_sent_as_asked(
        self, bench: TaskBench, api: Api, connection: Connect,
        fields: dict[str, str], auth: Any, header: str, value: str,
    ) -> None:  # fmt: skip
        connection(**fields)
        seen: list[str] = []

        def answer(_: str, __: object, headers: Any) -> Answer:
            seen.append(headers.get(header))
            return 200, {}, RECORDS

        api.answer = answer
        collect(bench, auth=auth)
        assert seen == [value]

    def test_oauth2_client_credentials(
        self, bench: TaskBench, api: Api, connection: Connect
    ) -> None:
        connection(user="client", password=SECRET)
        forms: list[tuple[str, str]] = []

        def answer(path: str, _: object, headers: Any) -> Answer:
            if path == "/token":
                forms.append((headers["x-form"], headers["authorization"]))
                return 200, {}, {"access_token": "of-today", "token_type": "bearer"}
            return (
                (200, {}, RECORDS)
                if headers["authorization"] == "Bearer of-today"
                else (401, {}, {})
            )

        api.answer = answer
        auth = {
            "type": "oauth2_client_credentials",
            "token_url": f"{api.url}/token",
            "scope": "read",
        }
        assert collect(bench, auth=auth).rows.out == 5
        client = base64.b64encode(f"client:{SECRET}".encode()).decode()
        assert forms == [("grant_type=client_credentials&scope=read", f"Basic {client}")]

    @pytest.mark.parametrize(
        ("answer", "error", "said"),
        [
            ((401, {}, {}), FatalError, "/token answers 401 to the client of 'shop'"),
            ((200, {}, b"<html>"), FatalError, "/token gives no access_token"),
            ((200, {}, [1]), FatalError, "/token gives no access_token"),
            ((503, {"retry-after": "7"}, {}), RetryableError, "/token answers 503"),
        ],
    )
    def test_a_token_that_is_not_given(
        self, bench: TaskBench, api: Api, connection: Connect,
        answer: Answer, error: type[Exception], said: str,
    ) -> None:  # fmt: skip
        connection(user="client", password=SECRET)
        api.answer = lambda *_: answer
        auth = {"type": "oauth2_client_credentials", "token_url": f"{api.url}/token?x={SECRET}"}
        with pytest.raises(error) as caught:
            collect(bench, auth=auth)
        assert str(caught.value) == f"{api.url}{said}"

    def test_a_key_that_is_refused_is_told_without_it(
        self, bench: TaskBench, api: Api, connection: Connect
    ) -> None:
        connection(token=SECRET)
        api.answer = lambda *_: (403, {}, {"echo": SECRET})
        with pytest.raises(FatalError) as caught:
            collect(bench, path="/days")
        assert str(caught.value) == (
            f"{api.url}/days answers 403: it does not accept the connection 'shop'"
            " (look at ROPEWALK_CONNECTION_SHOP)"
        )

    def test_a_page_is_asked_of_the_connections_own_server_alone(
        self, bench: TaskBench, api: Api, connection: Connect
    ) -> None:
        connection(token=SECRET)
        elsewhere = f"http://127.0.0.1:{free_port()}"
        api.answer = lambda *_: (200, {"link": f'<{elsewhere}/days>; rel="next"'}, RECORDS)
        with pytest.raises(FatalError, match=f"the API leads to another server, {elsewhere}"):
            collect(bench, paginate={"style": "link_header"})

    def test_a_clients_password_goes_where_the_connection_says_and_not_the_workflow(
        self, bench: TaskBench, api: Api, connection: Connect
    ) -> None:
        elsewhere = f"http://127.0.0.1:{free_port()}/token"
        auth = {"type": "oauth2_client_credentials", "token_url": elsewhere}
        connection(user="client", password=SECRET)
        with pytest.raises(ConfigError, match="does not go to .*, which only the workflow names"):
            collect(bench, auth=auth)
        connection(user="client", password=SECRET, token_url=f"{api.url}/token")
        api.answer = lambda path, *_: (
            200, {}, {"access_token": "of-today"} if path == "/token" else RECORDS,
        )  # fmt: skip
        assert collect(bench, auth={"type": "oauth2_client_credentials"}).rows.out == 5

    def test_a_connection_that_is_not_there(self, bench: TaskBench) -> None:
        with pytest.raises(ConfigError, match="this stage has no connection 'shpo'") as caught:
            collect(bench, connection="shpo")
        assert caught.value.hint == "did you mean 'shop'?"


class TestMoods:
    @pytest.mark.parametrize("status", [429, 502, 503])
    def test_a_busy_server_is_asked_again_when_it_says(
        self, bench: TaskBench, api: Api, status: int
    ) -> None:
        answers: list[Answer] = [
            (status, {"retry-after": "0"}, b"busy"), (status, {"retry-after": "0"}, b"busy"), (200, {}, RECORDS),
        ]  # fmt: skip
        api.answer = lambda *_: answers.pop(0)
        assert collect(bench).rows.out == 5
        assert len(api.asked) == 3

    def test_one_that_stays_busy_is_for_airflow_to_try_later(
        self, bench: TaskBench, api: Api
    ) -> None:
        api.answer = lambda *_: (429, {"retry-after": "0"}, b"")
        with pytest.raises(RetryableError) as caught:
            collect(bench, path="/days", attempts=2)
        assert str(caught.value) == f"{api.url}/days: answers 429, 2 times"
        assert caught.value.retry_after == 0
        assert len(api.asked) == 2

    def test_one_that_is_away(self, bench: TaskBench, connection: Connect) -> None:
        connection(url=f"http://127.0.0.1:{free_port()}", token=SECRET)
        with pytest.raises(
            RetryableError, match=r"no connection \(ConnectionError\), 1 times"
        ) as caught:
            collect(bench, attempts=1)
        assert SECRET not in str(caught.value)

    def test_html_where_json_should_be(self, bench: TaskBench, api: Api) -> None:
        page = b"<html><body>Please log in</body></html>"
        api.answer = lambda *_: (200, {"content-type": "text/html"}, page)
        with pytest.raises(DataError) as caught:
            collect(bench, path="/days", query={"key": SECRET})
        assert str(caught.value) == (
            f"{api.url}/days answers 200 with text/html, not with JSON:"
            " '<html><body>Please log in</body></html>'"
            " (is the path right, and does the API want another key?)"
        )

    def test_a_request_that_is_refused(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (404, {}, {"error": "no such thing"})
        with pytest.raises(FatalError, match='/ answers 404: {"error": "no such thing"}'):
            collect(bench)
        assert len(api.asked) == 1

    def test_records_that_are_elsewhere(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (200, {}, {"items": RECORDS})
        with pytest.raises(DataError) as caught:
            collect(bench, records="data")
        assert caught.value.code == "no_records"
        assert "the document has nothing at 'data', not a list of records" in str(caught.value)

    def test_pages_that_go_round(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda path, *_: (200, {"link": '</again>; rel="next"'}, [{"n": path}])
        with pytest.raises(DataError, match="page 3 is one that came before"):
            collect(bench, paginate={"style": "link_header"})

    def test_pages_that_go_round_are_told_without_their_query(
        self, bench: TaskBench, api: Api
    ) -> None:
        def answer(path: str, *_: object) -> Answer:
            return 200, {}, {"data": [{"n": path}], "next": f"/again?key={SECRET}"}

        api.answer = answer
        with pytest.raises(DataError, match=f"came before: {api.url}/again$"):
            collect(bench, records="data", paginate={"style": "next_url"})

    @pytest.mark.parametrize("style", ["page", "offset"])
    def test_an_api_that_does_not_know_pages_is_found_out(
        self, bench: TaskBench, api: Api, style: str
    ) -> None:
        with pytest.raises(DataError) as caught:
            collect(bench, path="/days", paginate={"style": style})
        assert str(caught.value) == (
            f"{api.url}/days: page 2 has the same records as the page before it"
            " (does the API know the parameters that paginate: names?)"
        )

    def test_pages_without_end(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda _, query, __: (200, {}, [{"n": int(query["page"])}])
        with pytest.raises(DataError, match="there are more than 7 pages"):
            collect(bench, paginate={"style": "page"}, max_pages=7)

    def test_a_long_wait_is_left_to_airflow(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (429, {"retry-after": "3600"}, b"")
        with pytest.raises(RetryableError) as caught:
            collect(bench, path="/days")
        assert str(caught.value) == (f"{api.url}/days answers 429: it asks to come again in 3600 s")
        assert caught.value.retry_after == 3600
        assert len(api.asked) == 1

    def test_an_error_on_a_later_page_reads_nothing(self, bench: TaskBench, api: Api) -> None:
        def answer(_: str, query: dict[str, str], __: Any) -> Answer:
            page = int(query["page"])
            return (200, {}, [{"n": page}]) if page < 7 else (500, {}, b"oh")

        api.answer = answer
        with pytest.raises(RetryableError, match="answers 500, 1 times"):
            collect(bench, paginate={"style": "page"}, attempts=1)

    @pytest.mark.parametrize(
        "headers", [{"x-length": "10000"}, {"x-chunked": "cut"}], ids=["short", "chunk"]
    )
    def test_an_answer_that_breaks_off_is_asked_for_again(
        self, bench: TaskBench, api: Api, headers: dict[str, str]
    ) -> None:
        answers: list[Answer] = [(200, headers, RECORDS), (200, {}, RECORDS)]
        api.answer = lambda *_: answers.pop(0)
        assert collect(bench).rows.out == 5
        api.answer = lambda *_: (200, headers, RECORDS)
        with pytest.raises(RetryableError, match="the answer broke off .ProtocolError."):
            collect(bench, attempts=1)

    def test_redirects_without_end(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (302, {"location": "/again"}, {})
        with pytest.raises(FatalError, match="redirects more than 5 times"):
            collect(bench)


class TestRecords:
    def test_a_record_that_does_not_fit_is_set_aside(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (200, {}, [{"n": 1}, {"n": "two"}, {"n": 3}])
        report = collect(bench, columns={"n": "integer"}, path="/days")
        assert bench.table(report)["n"].to_pylist() == [1, 3]
        (row,) = bench.quarantine(report)
        assert (row["source"], row["line"], row["row"]) == ("/days", 2, '{"n":"two"}')

    def test_no_records_have_the_declared_columns(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (200, {}, [])
        report = collect(bench, columns={"n": "integer", "at": "timestamp"})
        assert bench.table(report).schema.names == ["n", "at"]
        assert report.rows.out == 0

    def test_a_cursor_goes_on_from_the_last_committed_report(
        self, bench: TaskBench, api: Api
    ) -> None:
        cursor = {"field": "n", "param": "since", "start": 0}
        request = bench.request("collect", [("rest", {"connection": "shop", "cursor": cursor})])
        assert bench.perform(request).watermark == 5
        again = bench.request("collect", [("rest", {"connection": "shop", "cursor": cursor})])
        api.answer = lambda *_: (200, {}, [])
        assert bench.perform(again, since=5).watermark == 5
        assert [query for _, query in api.asked] == [{"since": "0"}, {"since": "5"}]


class TestCursorsSpan:
    """A record is taken by one run alone, whatever the server answers."""

    @pytest.fixture
    def at_least(self, api: Api) -> list[dict[str, Any]]:
        """The records of a server that compares with >=, as many do; numbers of it, and instants."""
        records: list[dict[str, Any]] = list(RECORDS)
        api.answer = lambda _, query, __: (
            200, {}, [one for one in records if one["n"] >= int(query.get("since") or 0)],
        )  # fmt: skip
        return records

    def read(
        self, bench: TaskBench, field: str = "n", told: Any = None, **options: Any
    ) -> tuple[Report, list[Any]]:
        """What a task took that was told these bounds: the report, and its numbers."""
        cursor = {"field": field, "param": "since"}
        do = ("rest", {"connection": "shop", "cursor": cursor, **options})
        report = bench.perform(bench.request("collect", [do]), **(told or {}))
        return report, bench.table(report)[options.get("select", ["n"])[0]].to_pylist()

    def test_a_cleared_run_reads_up_to_where_the_next_went_on(
        self, bench: TaskBench, at_least: list[dict[str, Any]]
    ) -> None:
        first, numbers = self.read(bench)
        at_least.append({"n": 6, "at": "2013-01-06T00:00:00Z"})
        second, more = self.read(bench, told={"since": first.watermark})
        cleared, again = self.read(bench, told={"until": first.watermark})
        assert (numbers, more, again) == ([1, 2, 3, 4, 5], [6], [1, 2, 3, 4, 5])
        assert cleared.rows.dropped == {"taken by a later run": 1}
        assert (cleared.watermark, second.watermark) == (5, 6)
        between, both = self.read(bench, told={"since": 2, "until": 5})
        assert (both, between.watermark) == ([3, 4, 5], 5)

    def test_runs_of_a_stage_take_each_record_once_whichever_is_cleared(
        self, bench: TaskBench, at_least: list[dict[str, Any]], database: Database, tmp_path: Path
    ) -> None:
        """The stage's own ledger says from where and up to where."""
        cursor = {"field": "n", "param": "since"}
        with running(StageService("collect", database.stage("collect"), tmp_path)) as (stage,):

            def took(run: str) -> tuple[int, Any]:
                do = ("rest", {"connection": "shop", "cursor": cursor})
                report = stage.do(bench.request("collect", [do], run=run))  # a new one: cleared
                return report.rows.out, report.watermark

            assert took("one") == (5, 5)
            at_least.append({"n": 6, "at": "2013-01-06T00:00:00Z"})
            assert took("two") == (1, 6)
            assert took("one") == (5, 5)
            at_least.append({"n": 7, "at": "2013-01-07T00:00:00Z"})
            assert took("three") == (1, 7)
            assert took("two") == (1, 6)

    @pytest.mark.usefixtures("at_least")
    def test_the_record_of_the_watermark_is_taken_once(self, bench: TaskBench) -> None:
        report, numbers = self.read(bench, told={"since": 3})
        assert (numbers, report.rows.dropped) == ([4, 5], {"taken before": 1})
        report, numbers = self.read(bench, told={"since": 5})
        assert (numbers, report.watermark) == ([], 5)

    def test_what_comes_late_from_a_server_that_sends_all_is_not_taken(
        self, bench: TaskBench, api: Api
    ) -> None:
        api.answer = lambda *_: (200, {}, [{"n": 2}, {"n": 9}, {"n": 4}, {"n": None}])
        report, numbers = self.read(bench, told={"since": 4})
        assert (numbers, report.watermark) == ([9], 9)
        assert report.rows.dropped == {"taken before": 2, "without a cursor": 1}

    @pytest.mark.parametrize("columns", [{}, {"at": "timestamp"}], ids=["found", "declared"])
    def test_instants_compare_as_such_and_the_watermark_is_as_the_server_writes_it(
        self, bench: TaskBench, api: Api, columns: dict[str, str]
    ) -> None:
        records = [
            {"n": 1, "at": "2013-01-01T23:00:00Z"},
            {"n": 2, "at": "2013-01-02T05:00:00+05:00"},  # midnight
            {"n": 3, "at": "2013-01-02T01:00:00Z"},
        ]
        api.answer = lambda *_: (200, {}, records)
        told = {"since": "2013-01-01T23:30:00Z", "until": "2013-01-02T00:00:00+00:00"}
        report, numbers = self.read(bench, "at", told, columns=columns)
        assert numbers == [2]
        midnight = "2013-01-02T00:00:00+00:00" if columns else "2013-01-02T05:00:00+05:00"
        assert report.watermark == midnight

    def test_days_compare_with_a_watermark_that_was_an_instant(
        self, bench: TaskBench, api: Api
    ) -> None:
        api.answer = lambda *_: (
            200,
            {},
            [{"n": 1, "at": "2013-01-01"}, {"n": 2, "at": "2013-01-02"}],
        )
        report, numbers = self.read(bench, "at", {"since": "2013-01-01T12:00:00Z"})
        assert (numbers, report.watermark) == ([2], "2013-01-02")

    @pytest.mark.parametrize("kind", [None, "integer", "float", "decimal(9,2)"])
    def test_numbers_compare_with_a_watermark_that_was_a_fraction(
        self, bench: TaskBench, api: Api, kind: str | None
    ) -> None:
        low, high = (
            ("5", "6") if kind and kind.startswith("decimal") else (5, 6)
        )  # as JSON has them
        api.answer = lambda *_: (200, {}, [{"n": low}, {"n": high}])
        columns = {"n": kind} if kind else {}
        report, numbers = self.read(bench, told={"since": 5.5}, columns=columns)
        assert (numbers, report.watermark) == ([6], 6)

    @pytest.mark.usefixtures("at_least")
    def test_the_cursor_may_be_a_field_that_is_not_wanted(self, bench: TaskBench) -> None:
        report, days = self.read(bench, told={"since": 4}, select=["at"])
        assert (len(days), report.watermark) == (1, 5)
        assert bench.table(report).schema.names == ["at"]

    def test_a_value_that_is_none_of_its_type_is_set_aside(
        self, bench: TaskBench, api: Api
    ) -> None:
        api.answer = lambda *_: (200, {}, [{"n": 1, "at": "2013-01-01"}, {"n": 2, "at": "soon"}])
        report, numbers = self.read(bench, "at", {"since": "2012-12-31"}, columns={"at": "date"})
        assert (numbers, report.watermark) == ([1], "2013-01-01")
        (row,) = bench.quarantine(report)
        assert (row["line"], row["column"]) == (2, "at")

    def test_a_watermark_of_another_kind_is_told(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (200, {}, [{"n": "A7"}])
        with pytest.raises(DataError, match="do not compare with the watermark 5") as caught:
            self.read(bench, told={"since": 5})
        assert caught.value.code == "cursor"
        api.answer = lambda *_: (200, {}, [{"m": 1}])
        with pytest.raises(DataError, match="no field 'n', which the cursor names"):
            self.read(bench)


class TestCursorsOverlap:
    """Records that come late, within the overlap, are taken; and each record once."""

    CURSOR: ClassVar[dict[str, Any]] = {"field": "at", "param": "since", "overlap": "2h"}

    @pytest.fixture
    def happen(self, api: Api) -> Callable[..., None]:
        """Has the server know of one more: a number, at an hour of a day."""
        records: list[dict[str, Any]] = []

        def answer(_: str, query: dict[str, str], __: Any) -> tuple[int, dict[str, str], Any]:
            since = query.get("since", "")
            return 200, {}, [one for one in records if one["at"] >= since]  # as texts

        def one(number: int, hour: float, **more: Any) -> None:
            at = f"2013-01-01T{int(hour):02}:{int(hour % 1 * 60):02}:00Z"
            records[:] = [two for two in records if two["n"] != number]
            records.append({"n": number, "at": at, **more})

        api.answer = answer
        return one

    def read(
        self, bench: TaskBench, before: Report | None, told: Any = None, **options: Any
    ) -> tuple[Report, list[int]]:
        """Read on from an earlier task: the report, and the numbers of the records that it took."""
        do = ("rest", {"connection": "shop", "cursor": {**self.CURSOR, **options}})
        on = {} if before is None else {"since": before.watermark, "previous": before.key}
        report = bench.perform(bench.request("collect", [do]), **on, **(told or {}))
        return report, sorted(bench.table(report)["n"].to_pylist())

    def test_a_late_record_is_taken_once(
        self, bench: TaskBench, api: Api, happen: Callable[..., None]
    ) -> None:
        for number in range(5):
            happen(number, number)
        first, numbers = self.read(bench, None)
        assert numbers == [0, 1, 2, 3, 4]
        happen(10, 3.5)  # late, within two hours of the last
        happen(11, 1.5)  # too late
        happen(12, 4.0)  # at the very moment of the last
        happen(13, 5.0)
        second, numbers = self.read(bench, first)
        assert numbers == [10, 12, 13]
        assert second.rows.dropped == {"taken before": 3}  # at 2:00, 3:00 and 4:00
        happen(14, 3.5)
        third, numbers = self.read(bench, second)
        assert (numbers, third.watermark) == ([14], "2013-01-01T05:00:00Z")
        fourth, numbers = self.read(bench, third)
        assert (numbers, fourth.watermark) == ([], "2013-01-01T05:00:00Z")
        assert self.read(bench, fourth)[1] == []
        asked = [query.get("since") for _, query in api.asked]
        assert asked[:2] == [None, "2013-01-01T02:00:00Z"]  # written as the server does

    def test_a_record_that_has_changed_is_taken_and_a_field_that_others_have_changes_none(
        self, bench: TaskBench, happen: Callable[..., None]
    ) -> None:
        for number in range(3):
            happen(number, 1 + number / 2, size=number)
        first, _ = self.read(bench, None)
        happen(1, 1.5, size=100)  # changed
        happen(7, 2.0, size=1.5, note="new")  # its fields give the others' columns another type
        second, numbers = self.read(bench, first)
        assert numbers == [1, 7]
        assert self.read(bench, second)[1] == []

    def test_a_run_that_is_cleared_reads_up_to_where_the_next_went_on(
        self, bench: TaskBench, happen: Callable[..., None]
    ) -> None:
        for number in range(3):
            happen(number, number)
        first, _ = self.read(bench, None)
        happen(3, 3)
        second, _ = self.read(bench, first)
        happen(4, 1.5)
        cleared, numbers = self.read(bench, None, {"until": first.watermark})
        assert (numbers, cleared.watermark) == ([0, 1, 2, 4], first.watermark)
        assert self.read(bench, second)[1] == [4]  # taken by both, as the page of crashes says

    @pytest.mark.parametrize("overlap", [2, 1.5])
    def test_numbers_have_an_overlap_too(self, bench: TaskBench, api: Api, overlap: float) -> None:
        records = [{"n": 4}, {"n": 6}]
        api.answer = lambda *_: (200, {}, records)
        cursor = {"field": "n", "overlap": overlap}
        first, numbers = self.read(bench, None, **cursor)
        assert (numbers, first.watermark) == ([4, 6], 6)
        records += [{"n": 5}, {"n": 3}, {"n": 7}]
        second, numbers = self.read(bench, first, **cursor)
        assert (numbers, second.watermark) == ([5, 7], 7)
        assert api.asked[1][1]["since"] == {2: "4", 1.5: "4.5"}[overlap]
        assert self.read(bench, second, **cursor)[1] == []

    def test_days_have_an_overlap_of_whole_days(self, bench: TaskBench, api: Api) -> None:
        records = [{"n": 1, "at": "2013-01-02"}]
        api.answer = lambda *_: (200, {}, records)
        with pytest.raises(ConfigError, match="from which 2:00:00 cannot be taken"):
            self.read(bench, None)
        first, _ = self.read(bench, None, overlap="1d")
        records += [{"n": 2, "at": "2013-01-02"}, {"n": 3, "at": "2013-01-01"}]
        assert self.read(bench, first, overlap="1d")[1] == [2]

    def test_what_no_overlap_can_be_taken_from_is_told(self, bench: TaskBench, api: Api) -> None:
        api.answer = lambda *_: (200, {}, [{"n": "A7"}])
        with pytest.raises(ConfigError, match="the cursor's values are such as 'A7'") as caught:
            self.read(bench, None, field="n")
        assert caught.value.code == "overlap"
