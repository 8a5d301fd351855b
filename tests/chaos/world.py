"""A world to break: real stages in two replicas each, a real Postgres of its own, a dataset store, proxies between."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import psycopg
import pyarrow as pa
from ropewalk.contracts.errors import RetryableError, error_of
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import DatasetRef, Report, TaskRequest, TaskStatus
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.kernel.datasets import DatasetStore
from ropewalk.kernel.manifests import MANIFEST
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings
from ropewalk.local.databases import LOGINS, Databases
from ropewalk.local.free_ports import free_port
from ropewalk.local.postgres import FAST, Cluster, cluster, initialise, wait_ready
from ropewalk.testing.proxy import Proxy
from ropewalk.testing.s3 import PASSWORD, USER, s3_server
from ropewalk.testing.services import StageService

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds after the last fault
TRIES = 5  # at starting a Postgres that was stopped at once: its memory and its port may be held for a moment
LEASE = 2.0
KEY = new_signing_key()
SETTINGS = {
    "synchronous_commit": "on"
}  # a server that is killed forgets nothing; the machine does not fall
REPLICAS = {"store": 2}
LAKE = "lake"  # the root of the files that are published: a folder, or in a bucket
APART = "warehouse"  # a database for one of two tables, and the name of its connection
ROOT_OF_LAKE = f"ROPEWALK_ROOT_{LAKE.upper()}"
WAYS = ("postgres", "stages", "bucket", "flight")  # in which proxies stand
FAR = "store"  # the stage that has a dataset store of its own, in a world where it is far: it fetches by Flight
Answer = TypeVar("Answer")
Row = tuple[int, str, int]  # number, day, version


class Server:
    """A Postgres that can be stopped as a crash stops it, and started again."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ropewalk-chaos-"))
        self.home.chmod(0o711)  # the account that runs it must come in
        self.cluster: Cluster = cluster(self.home, free_port())
        initialise(self.cluster, fast=True)
        self._log = self.cluster.folder.parent / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers; again, where what the one before held is not free yet."""
        for left in reversed(range(TRIES)):
            try:
                self._start()
            except RetryableError as error:
                if not left:
                    raise
                sys.stderr.write(f"{error}; its log ends: {self._log.read_text()[-1000:]}\n")
                time.sleep(1)
            else:
                return

    def _start(self) -> None:
        extra = [
            part
            for name, value in {**FAST, **SETTINGS}.items()
            for part in ("-c", f"{name}={value}")
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                [*self.cluster.argv, *extra],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self.cluster.account.popen(),
            )
        wait_ready(self.cluster, self._process, seconds=PATIENCE)

    def crash(self) -> None:
        """Stop it at once (``immediate``): what was not committed is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        self.crash()
        for path in (self.home, self.cluster.folder, self.cluster.sockets):
            shutil.rmtree(path, ignore_errors=True)


@dataclass
class World:
    """All that runs, what it is asked, and what the tables must hold in the end."""

    home: Path
    server: Server
    databases: Databases
    store_url: str
    far_url: str = ""  # of the dataset store of the stage `FAR`, where that is another
    services: dict[str, list[StageService]] = field(default_factory=dict)
    proxies: dict[str, list[Proxy]] = field(default_factory=dict)  # by the way that they stand in
    env: Mapping[str, str] = field(default_factory=dict)
    disk: Path | None = None  # a small one of its own, for the store and the scratch folders

    def places(self, *, apart: bool) -> dict[str, str]:
        """The database of each table, past every proxy: of the results, or of two apart."""
        results, other = (self.databases.stage("store", name) for name in ("ropewalk", APART))
        return {"one": results, "two": other if apart else results}

    @property
    def point(self) -> Path:
        """The file that says at which point something happens."""
        return self.home / "failpoint"

    @property
    def hits(self) -> Path:
        """Where every hit is written."""
        return self.home / "hits"

    @property
    def datasets(self) -> DatasetStore:
        """The dataset store, opened here."""
        return self.store_of("collect")

    def store_of(self, stage: str) -> DatasetStore:
        """The dataset store of a stage, opened here."""
        return open_store(
            Settings(
                store_url=self.url_of(stage),
                scratch_dir=self.home / "scratch",
                s3_endpoint=self.env.get("ROPEWALK_S3_ENDPOINT"),
            )
        )

    def url_of(self, stage: str) -> str:
        """Where a stage has its datasets."""
        return self.far_url if self.far_url and stage == FAR else self.store_url

    def stores(self) -> list[DatasetStore]:
        """Each dataset store once."""
        urls = {self.url_of(stage): stage for stage in self.services}
        return [self.store_of(stage) for stage in urls.values()]

    @property
    def in_bucket(self) -> bool:
        """Whether the datasets, and what is published as files, are in a bucket."""
        return "bucket" in self.proxies

    def can(self, fault: str, *, files: bool) -> bool:
        """Whether a fault can be had here: many need something in a certain way.

        A bucket knows no rename, so a frozen load of ``files`` may take one away there: docs/exactly-once.md.
        """
        if fault == "freeze":
            return not (files and self.in_bucket)
        way = "bucket" if fault == "busy" else fault.rpartition(" ")[2]
        return way in self.proxies or way not in WAYS

    def is_stage(self, pid: int) -> bool:
        """Whether a process is a stage's own, and not one that does a task."""
        return any(
            one.process is not None and one.process.pid == pid for one in self.all_services()
        )

    def wake(self) -> None:
        """Have all that was stopped go on."""
        for service in self.all_services():
            for pid in descendants(service.process.pid) if service.process else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def heal(self) -> None:
        """Everything runs, and every way is open."""
        self.arm("")
        for proxy in self.all_proxies():
            proxy.rest()
        self.wake()
        for service in self.all_services():
            if service.process is None or service.process.poll() is not None:
                service.start()

    def some_child(self) -> int | None:
        """A process that leads a session of its own: one that does a task, now and then a Flight server."""
        for service in self.all_services():
            for pid in descendants(service.process.pid)[1:] if service.process else ():
                with contextlib.suppress(ProcessLookupError):
                    if os.getsid(pid) == pid:
                        return pid
        return None

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """The disk of the dataset store and of the scratch folders has no room."""
        if self.disk is None:
            raise RuntimeError("this world has no disk of its own")
        ballast = self.disk / "ballast"
        try:
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(b"x" * 65_536)
                    file.flush()
            yield
        finally:
            ballast.unlink(missing_ok=True)

    def arm(self, spec: str) -> None:
        """Have something happen at a point, once; what was armed before is not."""
        draft = self.point.with_suffix(".draft")
        draft.write_text(spec, encoding="ascii")
        self.hits.write_bytes(b"")
        draft.rename(self.point)

    def hit(
        self, seconds: float = PATIENCE, *, unless: Callable[[], bool] = lambda: False
    ) -> int | None:
        """The process that has reached the armed point; None where none does in so many seconds, or nothing is to."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not unless():
            words = self.hits.read_text(encoding="ascii").split() if self.hits.exists() else []
            if len(words) >= 2:
                return int(words[1])
            time.sleep(0.005)
        return None

    def replica(self, child: int) -> StageService:
        """The replica whose task a process does, or that it is; ProcessLookupError where that has died."""
        known = {service.process.pid: service for service in self.all_services() if service.process}
        pid = child
        while pid not in known:
            if pid <= 1:
                raise ProcessLookupError(f"process {child} is of no replica")
            pid = parent(pid)
        return known[pid]

    def all_services(self) -> list[StageService]:
        """Every replica of every stage."""
        return [service for replicas in self.services.values() for service in replicas]

    def all_proxies(self) -> list[Proxy]:
        """Every proxy, in whatever way."""
        return [proxy for proxies in self.proxies.values() for proxy in proxies]

    def dataset(self, rows: list[Row]) -> DatasetRef:
        """A dataset with these rows."""
        table = pa.table(
            {
                "n": pa.array([row[0] for row in rows], pa.int64()),
                "day": pa.array([row[1] for row in rows], pa.string()),
                "v": pa.array([row[2] for row in rows], pa.int64()),
            }
        )
        draft = self.datasets.draft(os.urandom(32).hex())
        draft.writer("data", table.schema).write(table)
        outputs = draft.finish()
        report = Report.model_validate(
            {"key": draft.key, "workflow": "chaos", "step": "given", "stage": "collect", "plugins": [], "run": "",
             "outputs": outputs, "started": "2013-01-01T00:00:00Z", "ended": "2013-01-01T00:00:00Z"}
        )  # fmt: skip
        draft.commit(report, before=lambda: None)
        return outputs["data"]

    def ask(self, stage: str, question: Callable[[StageService], Answer]) -> Answer:
        """Ask the replicas of a stage in turn until one answers."""
        deadline = time.monotonic() + PATIENCE
        for service in itertools.cycle(self.services[stage]):
            try:
                return question(service)
            except (httpx.TransportError, RetryableError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        raise RuntimeError(stage)

    def submit(self, request: TaskRequest) -> TaskStatus:
        """Submit a task to the first replica that answers."""
        return self.ask(request.stage, lambda service: service.submit(request))

    def drive(self, request: TaskRequest) -> Report:
        """Have a task done as Airflow does: one that fails for now is asked for again.

        AssertionError where it fails for good, or does not end.
        """
        deadline = time.monotonic() + PATIENCE
        status = self.submit(request)
        while status.report is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"no end of {status} after {PATIENCE:.0f} s")
            if status.state.ended:
                _must_be_retryable(status)
                status = self.submit(request)
            else:
                status = self.ask(
                    request.stage, lambda service: service.read(task_key(request), wait=0.5)
                )
        return status.report

    def collect_garbage(self) -> list[str]:
        """Have every stage collect; what lies in the store then that no manifest names, or in a scratch folder."""
        self._sweep()
        return [*self._strays(), *self._scratch()]

    def _sweep(self) -> None:
        for stage in self.services:
            self.ask(stage, StageService.collect_garbage)

    def _strays(self) -> list[str]:
        return [name for store in self.stores() for name in self._strays_of(store)]

    def _strays_of(self, store: DatasetStore) -> list[str]:
        found = []
        for path, _ in store.objects.ages("tasks"):
            key, name = path.split("/")[-2:]
            manifest = store.manifest(key)
            entries = manifest.outputs.values() if manifest else ()
            named = {MANIFEST, *(part.name for entry in entries for part in entry.parts)}
            if name not in named and not self._is_seat(store, path):
                found.append(f"nothing names {path}")
        return found

    def _is_seat(self, store: DatasetStore, path: str) -> bool:
        """A manifest's place that was taken by who made none is no file half-written."""
        return path.endswith(f"/{MANIFEST}") and not store.objects.exists(path)

    def _scratch(self) -> list[str]:
        """The folders of attempts, of which none runs any more; that of one just killed goes in a moment."""
        deadline = time.monotonic() + 20
        while found := [str(one) for one in self.home.glob("disk/scratch/*/*/*-[0-9]*")]:
            if time.monotonic() > deadline:
                return found
            self._sweep()
        return []

    def forget(self) -> None:
        """Empty the dataset stores: what comes next has other tasks."""
        for objects in (store.objects for store in self.stores()):
            for path, _ in list(objects.ages("tasks")):
                objects.delete(path)

    def leftovers(self) -> list[str]:
        """What a world at rest must not have: a session of a load, or a transaction in doubt."""
        with psycopg.connect(self.server.cluster.superuser, autocommit=True) as session:
            open_loads = session.execute(
                "SELECT application_name, state, query FROM pg_stat_activity"
                " WHERE application_name ~ '^ropewalk:[0-9a-f]{12}:'"
            ).fetchall()
            in_doubt = session.execute("SELECT gid FROM pg_prepared_xacts").fetchall()
        return [str(row) for row in (*open_loads, *in_doubt)]


def _must_be_retryable(status: TaskStatus) -> None:
    error = error_of(status.error) if status.error else RetryableError("cancelled")
    if not error.retryable:
        raise AssertionError(f"the task failed for good: {error.code}: {error}")


def parent(pid: int) -> int:
    """The parent of a process; ProcessLookupError where it has gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        raise ProcessLookupError(f"process {pid} has gone") from None
    return int(stat.rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    """A process, and all that came of it, the oldest first."""
    found = [pid]
    for one in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += [int(word) for word in (thread / "children").read_text().split()]
    return found


def gone(pid: int) -> bool:
    """Whether a process is there no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@contextmanager
def world(
    home: Path, *, bucket: bool = False, far: bool = False, stages: Mapping[str, int] = REPLICAS
) -> Iterator[World]:
    """A running world, whose dataset store is a folder on a small disk (for root), or a bucket.

    Where the stage that stores is ``far``, it has a folder of its own, and fetches what it reads by Flight.
    """
    server = Server()
    databases = Databases(server.cluster, {login: f"{login}-test" for login in LOGINS})
    with ExitStack() as stops:
        stops.callback(server.remove)
        server.start()
        databases.provision_roles()
        for name in ("ropewalk", APART):
            databases.provision_results(name)
        disk = home / "disk"
        made = World(home, server, databases, (disk / "store").as_uri())
        made.far_url = (disk / "far").as_uri() if far else ""
        made.disk = stops.enter_context(_small_disk(disk))
        made.proxies["postgres"] = [Proxy(server.cluster.port)]
        made.env = {ROOT_OF_LAKE: str(home / LAKE)}
        (home / LAKE).mkdir()
        if bucket:
            stops.enter_context(_bucket(made))
        os.environ.update(made.env)
        made.services = {stage: _replicas(made, stage, number) for stage, number in stages.items()}
        made.proxies["stages"] = [_before(service) for service in made.all_services()]
        if far:
            made.proxies["flight"] = [_before_flight(service) for service in made.all_services()]
        for proxy in made.all_proxies():
            stops.callback(proxy.close)
        for service in made.all_services():
            stops.callback(_end, service)
        _start(made.all_services())
        yield made


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of 64 MiB at a folder; for root only, else the folder is none of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    root = os.geteuid() == 0
    mounted = root and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@contextmanager
def _bucket(made: World) -> Iterator[None]:
    """The dataset store in a bucket of a server that a proxy stands before."""
    folder = made.home / "s3"
    folder.mkdir()
    with s3_server(folder) as url:
        through = Proxy(int(url.rpartition(":")[2]))
        made.proxies["bucket"] = [through]
        made.store_url = "s3://ready/store"
        made.env = {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_DEFAULT_REGION": "us-east-1",
            "ROPEWALK_S3_ENDPOINT": f"http://127.0.0.1:{through.port}",
            ROOT_OF_LAKE: f"s3://ready/lake?endpoint=http://127.0.0.1:{through.port}",
        }
        yield


def _replicas(made: World, stage: str, number: int) -> list[StageService]:
    (postgres,) = made.proxies["postgres"]

    def proxied(dsn: str) -> str:
        return dsn.replace(f":{made.server.cluster.port}/", f":{postgres.port}/")

    env = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}",
        "ROPEWALK_LEASE_SECONDS": str(LEASE),
        "ROPEWALK_GRACE_SECONDS": "0",  # the collector is told when to come: nothing runs then
        "ROPEWALK_FAILPOINT": f"@{made.point}",
        "ROPEWALK_FAILPOINT_HITS": str(made.hits),
        "ROPEWALK_CONNECTION_RESULTS": proxied(made.databases.stage("store")),
        f"ROPEWALK_CONNECTION_{APART.upper()}": proxied(made.databases.stage("store", APART)),
        "ROPEWALK_ROOT_DATA": str(made.home),
        "ROPEWALK_STORE_URL": made.url_of(stage),
        "ROPEWALK_SCRATCH_DIR": str(made.home / "disk" / "scratch" / stage),
        **made.env,
    }
    return [
        StageService(
            stage,
            proxied(made.databases.stage(stage)),
            made.home,
            env,
            key=KEY,
            patience=PATIENCE,
            timeout=3,
        )
        for _ in range(number)
    ]


def _before(service: StageService) -> Proxy:
    """A proxy by which the service is asked from now on."""
    proxy = Proxy(service.port)
    service.asked_at = proxy.port
    return proxy


def _before_flight(service: StageService) -> Proxy:
    """A proxy by which others fetch what a service has made."""
    proxy = Proxy(service.flight_port)
    service.flight_at = proxy.port
    return proxy


def _start(services: list[StageService]) -> None:
    """Start all at once, and return when all are ready."""
    with ThreadPoolExecutor(len(services)) as pool:
        list(pool.map(StageService.start, services))


def _end(service: StageService) -> None:
    if service.process is not None:
        with contextlib.suppress(ProcessLookupError):
            service.process.send_signal(signal.SIGCONT)
        service.stop(signal.SIGKILL)
