"""Reads the pages of a `sources.rest` step: polite to a busy server, plain about a wrong answer."""

from __future__ import annotations

import email.utils
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import requests
from urllib3.exceptions import HTTPError

from ropewalk.collect.aside import refuse, typed
from ropewalk.collect.convert import type_of
from ropewalk.collect.json import Records, records_of
from ropewalk.collect.outside import guard, origin
from ropewalk.collect.seen import DIGEST, digests_of_texts
from ropewalk.collect.span import Span
from ropewalk.collect.spool import Spool
from ropewalk.contracts.errors import (
    ConfigError,
    DataError,
    FatalError,
    RetryableError,
    nearest,
)
from ropewalk.kernel.settings import Connection

if TYPE_CHECKING:
    from ropewalk.collect.sources.rest import Auth, Options, Paginate
    from ropewalk.kernel.task import Task

MAX_PAGE = 256 << 20  # bytes of one answer
MAX_WAIT = 60.0  # seconds that are waited here; where a server asks for more, Airflow waits
MAX_REDIRECTS = 5
TEXT = "\0text"  # a column of the records' own digests, while they are read: no field is named so
BUSY = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
}


def read_pages(options: Options, task: Task) -> pa.RecordBatchReader:
    """The records of all pages as batches of one schema."""
    task.took(0)
    batches = _Reader(options, task).batches()
    first = next(batches)

    def every() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    return pa.RecordBatchReader.from_batches(first.schema, every())


class Busy(Exception):  # noqa: N818 - it is no error yet
    """The server asks to come again; after ``wait`` seconds where it says when."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.what, self.wait = what, wait


def _patience(error: Exception) -> bool | float:
    """Whether to ask again: after as many seconds as the server asks for, else after stamina's own."""
    if not isinstance(error, Busy):
        return False
    return True if error.wait is None else error.wait


class _Reader:
    def __init__(self, options: Options, task: Task) -> None:
        self.options = options
        self.task = task
        self.connection = task.connection(options.connection)
        self.base = str(self.connection.secret("url")).rstrip("/")
        self.types = {name: type_of(kind) for name, kind in options.columns.items()}
        cursor = options.cursor
        self.span = Span(task, cursor.field, cursor.overlap) if cursor is not None else None
        allowed = task.settings.private_hosts
        self.stranger = guard(requests.Session(), allowed)  # carries nothing of the connection's
        self.session = guard(requests.Session(), allowed)
        _carry(self.session, options.auth, self.connection, options.connection)
        self.session.headers.update(options.headers)
        task.reads(f"{origin(self.base)}{urlsplit(self._first_url()).path}")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The typed records of each page; at least one batch, which may be empty."""
        with self.session, self.stranger:
            yield from self._batches()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """All pages are read before the first batch: a field may come with the last record."""
        records, spool = Records(self.types), Spool(self.task.scratch)
        for page in self._pages():
            first = records.number
            for table, numbers in records.parse(page):
                self.task.took(table.num_rows)
                self._check_cursor(table)
                spool.write(self._known_by(table, page, numbers, first), numbers, self.options.path)
            self.task.took(len(records.refused))
            refuse(self.task, self.options.path, records.refused)
            records.refused = []
            self.task.progress(spool.rows)
        known = records.schema()
        schema = self._selected(known)
        types = dict(zip(schema.names, schema.types, strict=True))
        yield pa.RecordBatch.from_pylist([], schema)
        for source, batch, lines in self._own(spool, schema, known):
            yield typed(self.task, batch, types, source, lines)

    def _own(
        self, spool: Spool, schema: pa.Schema, known: pa.Schema
    ) -> Iterator[tuple[str, pa.RecordBatch, pa.Array]]:
        """The batches, of records that are this task's by the cursor; it may be of a field that is not wanted."""
        span = self.span
        if self.options.cursor is None or span is None:
            yield from spool.batches(schema)
            return
        field, overlap = self.options.cursor.field, self.options.cursor.overlap
        if field in known.names and field not in schema.names:
            schema = schema.append(known.field(field))
        whole = schema if overlap is None else schema.append(pa.field(TEXT, DIGEST))
        for source, batch, lines in spool.batches(whole):
            texts = None if overlap is None else batch.column(TEXT)
            taken = span.taken(batch, known.field(field).type, texts)
            yield source, batch.select(schema.names).filter(taken), lines.filter(taken)
        span.close()

    def _known_by(self, table: pa.Table, page: bytes, numbers: pa.Array, first: int) -> pa.Table:
        """The records with the digests of their texts, where they may come again."""
        if self.options.cursor is None or self.options.cursor.overlap is None:
            return table
        texts = pa.array(page.split(b"\n"), pa.string()).take(pc.subtract(numbers, first))
        return table.append_column(TEXT, digests_of_texts(texts))

    def _selected(self, schema: pa.Schema) -> pa.Schema:
        """The columns that are wanted."""
        wanted = self.options.select
        if wanted is None:
            return schema
        for name in wanted:
            if name not in schema.names:
                hint = nearest(name, schema.names)
                raise DataError(
                    f"the records have no field {name!r}",
                    code="unknown_column",
                    field="select",
                    hint=hint,
                )
        return pa.schema([schema.field(name) for name in wanted])

    def _check_cursor(self, table: pa.Table) -> None:
        cursor = self.options.cursor
        if cursor is not None and table.num_rows and cursor.field not in table.column_names:
            raise DataError(
                f"the records have no field {cursor.field!r}, which the cursor names",
                code="cursor",
                hint=nearest(cursor.field, table.column_names),
            )

    def _pages(self) -> Iterator[bytes]:
        """The records of each page, one per line; a page that came before ends the read with an error."""
        url, query = self._first_url(), self._first_query()
        seen: set[tuple[str, str]] = set()
        style = self.options.paginate
        before = b""
        for number in range(self.options.max_pages):
            asked = (url, str(sorted(query.items())))
            if asked in seen:
                raise DataError(
                    f"page {number + 1} is one that came before: {_plain(url)}", code="paging_loop"
                )
            seen.add(asked)
            answer = self._get(url, query)
            lines = self._records(answer)
            if lines and lines == before:
                raise DataError(
                    f"{_plain(url)}: page {number + 1} has the same records as the page before it",
                    code="paging_loop",
                    hint="does the API know the parameters that paginate: names?",
                )
            before = lines
            count = lines.count(b"\n") + 1 if lines else 0
            yield lines
            following = _next(style, answer, number, count, query)
            if following is None:
                return
            if isinstance(following, str):
                url, query = self._same_origin(urljoin(answer.url, following)), {}
            else:
                query = following
        raise DataError(f"there are more than {self.options.max_pages} pages", code="max_pages")

    def _records(self, answer: requests.Response) -> bytes:
        kind = answer.headers.get("content-type", "nothing")
        try:
            return records_of(answer.content, self.options.records)
        except DataError as error:
            start = answer.text[:120].strip().replace("\n", " ")
            if error.code != "not_json":
                raise
            raise DataError(
                f"{_plain(answer.url)} answers {answer.status_code} with {kind}, not with JSON: {start!r}",
                code="not_json",
                hint="is the path right, and does the API want another key?",
            ) from None

    def _get(self, url: str, query: Mapping[str, Any]) -> requests.Response:
        """One page; a server that is busy is asked again, as late as it asks for."""
        import stamina

        most = self.options.attempts
        try:
            for attempt in stamina.retry_context(
                on=_patience, attempts=most, timeout=None, wait_initial=0.5, wait_max=15.0
            ):
                with attempt:
                    if attempt.num > 1:
                        self.task.info(f"{_plain(url)}: asked for the {attempt.num}. time")
                    return self._once(url, query)
        except Busy as busy:
            raise RetryableError(
                f"{_plain(url)}: {busy.what}, {most} times", code="busy", retry_after=busy.wait
            ) from None
        raise RetryableError(f"{_plain(url)}: no answer", code="busy")

    def _once(self, url: str, query: Mapping[str, Any]) -> requests.Response:
        session = self.session
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = session.get(
                    url,
                    params=query,
                    timeout=self.options.timeout,
                    allow_redirects=False,
                    stream=True,
                )
                with answer:  # read whole, or not at all: its connection is free again
                    if not answer.is_redirect:
                        return self._judged(answer)
                url, query = _redirected(answer), {}
                if origin(url) != origin(self.base):
                    session = self.stranger  # and from there on, wherever it leads
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Busy(f"no connection ({type(error).__name__})") from None
        except HTTPError as error:  # of the body: it ended early, or came too slowly
            raise Busy(f"the answer broke off ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise FatalError(f"{_plain(url)}: {type(error).__name__}", code="request") from None
        raise FatalError(
            f"{_plain(url)} redirects more than {MAX_REDIRECTS} times", code="redirects"
        )

    def _judged(self, answer: requests.Response) -> requests.Response:
        status = answer.status_code
        if status in BUSY:
            wait = _retry_after(answer)
            if wait is not None and wait > MAX_WAIT:
                raise RetryableError(
                    f"{_plain(answer.url)} answers {status}: it asks to come again in {wait:.0f} s",
                    code="busy",
                    retry_after=wait,
                )
            raise Busy(f"answers {status}", wait)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise self._refused(answer)
        content = answer.raw.read(MAX_PAGE + 1, decode_content=True)
        if len(content) > MAX_PAGE:
            raise DataError(
                f"{_plain(answer.url)}: a page is larger than {MAX_PAGE >> 20} MiB",
                code="too_large",
            )
        answer._content = content  # noqa: SLF001 - what requests does itself, with a bound
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Busy(f"answers {status}")
        if status >= HTTPStatus.BAD_REQUEST:
            start = answer.text[:200].strip().replace("\n", " ")
            raise FatalError(f"{_plain(answer.url)} answers {status}: {start}", code="refused")
        return answer

    def _first_url(self) -> str:
        return self.base + "/" + self.options.path.lstrip("/")

    def _first_query(self) -> dict[str, Any]:
        """The query of the first page: the options', the page's size, and from where on."""
        query = {name: value for name, value in self.options.query.items() if value is not None}
        paging = self.options.paginate
        if paging.size_param and paging.size:
            query[paging.size_param] = paging.size
        if paging.style in {"page", "offset"}:
            first = paging.start if paging.start is not None else int(paging.style == "page")
            query[paging.param or paging.style] = first
        cursor = self.options.cursor
        if cursor is not None and self.span is not None:
            since = self.span.since if self.span.since is not None else cursor.start
            if since is not None:
                query[cursor.param] = since
        return query

    def _same_origin(self, url: str) -> str:
        """A URL that the server names; the connection's secrets go to its own server alone."""
        if origin(url) != origin(self.base):
            raise FatalError(f"the API leads to another server, {origin(url)}", code="other_origin")
        return url

    def _refused(self, answer: requests.Response) -> FatalError:
        """What 401 and 403 mean: by the API itself, or by a server that it redirects to."""
        said = f"{_plain(answer.url)} answers {answer.status_code}"
        if origin(answer.url) != origin(self.base):
            return FatalError(
                f"{said}: the API leads there, and the connection's secrets stay behind",
                code="refused",
            )
        return FatalError(
            f"{said}: it does not accept the connection {self.options.connection!r}",
            code="refused",
            hint=f"look at ROPEWALK_CONNECTION_{self.options.connection.upper()}",
        )


def _next(
    paging: Paginate, answer: requests.Response, number: int, count: int, query: Mapping[str, Any]
) -> str | dict[str, Any] | None:
    """The next page: its URL, or its query; None after the last."""
    if paging.style == "link_header":
        return answer.links.get("next", {}).get("url")
    if paging.style in {"cursor", "next_url"}:
        found = _at(answer.json(), paging.path or "next")
        if not found:
            return None
        return (
            str(found) if paging.style == "next_url" else {**query, paging.param or "cursor": found}
        )
    if paging.style == "none" or count == 0 or (paging.size and count < paging.size):
        return None
    first = paging.start if paging.start is not None else int(paging.style == "page")
    param = paging.param or paging.style
    if paging.style == "page":
        return {**query, param: first + number + 1}
    return {**query, param: query[param] + count}


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _redirected(answer: requests.Response) -> str:
    """Where an answer leads; never from an encrypted connection to a plain one."""
    url = urljoin(answer.url, answer.headers["location"])
    if answer.url.startswith("https:") and not origin(url).startswith("https:"):
        raise FatalError(f"{_plain(answer.url)} redirects to plain HTTP", code="downgrade")
    return url


def _carry(session: requests.Session, auth: Auth | None, connection: Connection, name: str) -> None:
    """Have a session carry what the connection holds."""
    kind = auth.type if auth else _auth_of(connection)
    token, user, password = (connection.secret(field) for field in ("token", "user", "password"))
    if kind in {"bearer", "api_key"} and token is None:
        raise ConfigError(f"the connection {name!r} has no token", code="connection")
    if kind == "bearer":
        session.headers["Authorization"] = f"Bearer {token}"
    elif kind == "api_key":
        header = connection.secret("header") or (auth.header if auth else "X-Api-Key")
        session.headers[str(header)] = str(token)
    elif kind == "basic":
        session.auth = (user or "", password or "")
    elif kind == "oauth2_client_credentials":
        session.headers["Authorization"] = f"Bearer {_oauth2(session, auth, connection, name)}"


def _auth_of(connection: Connection) -> str:
    """How to use what a connection holds, where the options do not say."""
    if connection.secret("header"):
        return "api_key"
    if connection.token is not None:
        return "bearer"
    return "basic" if connection.user else "none"


def _oauth2(session: requests.Session, auth: Auth | None, connection: Connection, name: str) -> str:
    """An access token for the connection's client (RFC 6749, 4.4)."""
    url = _token_url(auth, connection, name)
    form = {
        "grant_type": "client_credentials",
        **({"scope": auth.scope} if auth and auth.scope else {}),
    }
    client = (connection.user or "", connection.secret("password") or "")
    answer = _posted(session, url, form, client)
    if not answer.ok:
        raise FatalError(
            f"{_plain(url)} answers {answer.status_code} to the client of {name!r}", code="refused"
        )
    try:
        token = answer.json()["access_token"]
    except (ValueError, LookupError, TypeError):
        raise FatalError(f"{_plain(url)} gives no access_token", code="refused") from None
    return str(token)


def _posted(
    session: requests.Session, url: str, form: Mapping[str, str], client: tuple[str, str]
) -> requests.Response:
    """The answer of the server of tokens; RetryableError where it gives none, or is busy."""
    try:
        answer = session.post(url, data=form, auth=client, timeout=30, allow_redirects=False)
    except requests.RequestException as error:
        raise RetryableError(
            f"{_plain(url)}: no connection ({type(error).__name__})", code="busy"
        ) from None
    if answer.status_code in BUSY:
        raise RetryableError(
            f"{_plain(url)} answers {answer.status_code}", code="busy",
            retry_after=_retry_after(answer),
        )  # fmt: skip
    return answer


def _token_url(auth: Auth | None, connection: Connection, name: str) -> str:
    """Where the client's password goes: to the API's own server, or where the connection itself says."""
    url, own = (auth.token_url if auth else None), connection.secret("token_url")
    if not (url or own):
        raise ConfigError("auth needs token_url", code="auth")
    if url and url != own and origin(url) != origin(str(connection.secret("url"))):
        raise ConfigError(
            f"the password of {name!r} does not go to {origin(url)}, which only the workflow names",
            code="other_origin",
            hint=f"add token_url to ROPEWALK_CONNECTION_{name.upper()}",
        )
    return str(url or own)


def _retry_after(answer: requests.Response) -> float | None:
    """The seconds that a Retry-After header asks for, in either of its forms (RFC 9110, 10.2.3)."""
    text = answer.headers.get("retry-after")
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(
        0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    )


def _plain(url: str) -> str:
    """A URL without its query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
