"""Who sees which page: the present stage as a service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import httpx
import pytest
from ropewalk.contracts.errors import BusyError
from ropewalk.contracts.tokens import mint
from ropewalk.present.web import DRAWN_AT_ONCE, DRAWN_SOON, _Files
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.services import StageService, running

from tests.conftest import Postgres
from tests.kernel.test_limits import memory
from tests.present.conftest import page, steps

KEY = "the-key-of-the-viewers"


@pytest.fixture(scope="module")
def service(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageService]:
    """The present stage with the reports of two runs."""
    home = tmp_path_factory.mktemp("present")
    stage = StageService(
        "present", postgres.database().stage("present"), home, {"ROPEWALK_VIEW_TOKEN": KEY}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROPEWALK_ROOT_DATA", str(home))
        shared = TaskBench(home)  # its store is home/store, the service's own
        with running(stage):
            for requested, run in enumerate(
                ("run-1", "manual__2013-01-01T05:00:00+00:00"), start=1
            ):
                reports = steps(shared, home, run)
                request = page(shared, reports, run)
                told = request.run.model_copy(update={"requested": requested, "title": "Late"})
                stage.do(request.model_copy(update={"run": told}))
            yield stage


@pytest.fixture
def viewer(service: StageService) -> Iterator[httpx.Client]:
    """A browser that has the key."""
    with httpx.Client(
        base_url=service.url, follow_redirects=True, trust_env=False, timeout=60
    ) as client:
        assert client.get("/reports/", params={"key": KEY}).status_code == 200
        yield client


def test_nobody_sees_anything_without_a_key(service: StageService) -> None:
    for path in ("/", "/bench/", "/bench/run-1/", "/bench/run-1/index.html", "/nothing/"):
        for headers, params in (
            ({}, {}),
            ({}, {"key": "another"}),
            ({"cookie": f"ropewalk_00000000={KEY}"}, {}),
        ):
            answer = httpx.get(f"{service.url}/reports{path}", headers=headers, params=params)
            assert answer.status_code == 401
            assert "?key=" in answer.text
            assert "Late" not in answer.text


def test_who_has_no_key_is_in_the_log_without_what_he_tried(service: StageService) -> None:
    said = len(service.log())
    httpx.get(f"{service.url}/reports/bench/", params={"key": "guess-of-a-key"})
    lines = [json.loads(line) for line in service.log()[said:].splitlines()]
    (line,) = [line for line in lines if line["event"] == "call.refused"]
    assert (line["code"], line["place"]) == ("view_key", "GET /reports/bench/")
    assert "guess" not in service.log()


def test_a_thousand_guesses_of_the_key_open_nothing_and_take_no_memory(
    service: StageService, viewer: httpx.Client
) -> None:
    (cookie,) = viewer.cookies

    def guess(number: int) -> int:
        params = {"key": f"guess-{number}"} if number % 2 else {}
        headers = {} if params else {"cookie": f"{cookie}=guess-{number}"}
        return client.get("/reports/bench/", params=params, headers=headers).status_code

    with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        assert [guess(number) for number in range(2)] == [401, 401]
        before = memory(service)
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(guess, range(1_000))
            assert viewer.get("/reports/").status_code == 200
            assert set(answers) == {401}
    assert memory(service) - before < 20 << 20


def test_a_picture_too_many_is_asked_to_come_again() -> None:
    """Those that wait hold no thread: the stage's store is read by them."""

    async def ask() -> None:
        files = _Files(None)  # type: ignore[arg-type]
        async with AsyncExitStack() as stack:
            for _ in range(DRAWN_AT_ONCE):
                await stack.enter_async_context(files.turn())
            asking = asyncio.Semaphore(0)
            waiting = [asyncio.create_task(_take(files, asking)) for _ in range(DRAWN_SOON)]
            for _ in waiting:
                await asking.acquire()
            with pytest.raises(BusyError) as caught:
                await _take(files, asking)
            assert (caught.value.status, caught.value.retry_after) == (429, 5)
        await asyncio.gather(*waiting)
        await _take(files, asking)

    asyncio.run(ask())


async def _take(files: _Files, asking: asyncio.Semaphore) -> None:
    asking.release()
    async with files.turn():
        pass


def test_the_key_becomes_a_cookie_and_leaves_the_address(service: StageService) -> None:
    answer = httpx.get(f"{service.url}/reports/bench/", params={"key": KEY})
    assert (answer.status_code, answer.headers["location"]) == (303, "/reports/bench/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/reports"))


def test_the_pages(viewer: httpx.Client) -> None:
    assert "Late" in viewer.get("/reports/").text
    history = viewer.get("/reports/bench/")
    assert "run-1" in history.text
    assert "manual__2013-01-01T05%3A00%3A00%2B00%3A00/" in history.text
    assert (
        viewer.get("/reports/bench/latest/").text
        == viewer.get("/reports/bench/manual__2013-01-01T05%3A00%3A00%2B00%3A00/").text
    )
    report = viewer.get("/reports/bench/run-1/")
    assert "Run <b>run-1</b>" in report.text
    picture = viewer.get("/reports/bench/run-1/report-04-all.png")
    assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", b"\x89PNG")


@pytest.mark.parametrize(
    ("audience", "right", "status"),
    [("present", "reports", 200), ("present", "describe", 403), ("collect", "reports", 401)],
)
def test_airflow_asks_with_a_token_for_reports(
    service: StageService, audience: str, right: str, status: int
) -> None:
    headers = {"authorization": f"Bearer {mint(service.key, audience, right)}"}
    answer = httpx.get(f"{service.url}/reports/bench/run-1/", headers=headers)
    assert (answer.status_code, "Late" in answer.text) == (status, status == 200)


@pytest.mark.parametrize(
    "path",
    ["nothing/", "bench/run-9/", "bench/run-1/nothing.png", "bench/run-1/..%2f..%2fmanifest.json",
     "bench/run-1/manifest.json", "Bench/", "bench/%2e%2e/x/y", "bench/run%00/"],
)  # fmt: skip
def test_what_is_not_there(viewer: httpx.Client, path: str) -> None:
    assert viewer.get(f"/reports/{path}").status_code in {404, 422}


def test_pages_come_with_a_policy(viewer: httpx.Client) -> None:
    for path in ("/reports/", "/reports/bench/", "/reports/bench/run-1/"):
        headers = viewer.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'sha256-" in policy
        assert headers["x-content-type-options"] == "nosniff"
