"""A stage as a service: ``python -m ropewalk.<stage>`` runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn

import psycopg
import structlog
import uvicorn
from fastapi import FastAPI

from ropewalk.contracts.errors import ConfigError, RopewalkError
from ropewalk.contracts.plugins import all_plugins
from ropewalk.kernel.app import Service, build
from ropewalk.kernel.aside import aside
from ropewalk.kernel.flight_process import FlightProcess
from ropewalk.kernel.ledger import Ledger
from ropewalk.kernel.limits import bounded_protocol
from ropewalk.kernel.log import log_as_json
from ropewalk.kernel.manifests import ManifestStore
from ropewalk.kernel.refuse import refuse_open_house, refuse_weak_secrets
from ropewalk.kernel.runner import Runner
from ropewalk.kernel.scratch import own_folder, sweep
from ropewalk.kernel.settings import Settings, settings_of
from ropewalk.kernel.stage import Stage, load
from ropewalk.kernel.tls import Tls
from ropewalk.kernel.tokens import Verifier

log = structlog.get_logger()
PRELOAD = (
    "pyarrow",
    "pyarrow.flight",
    "pyarrow.pandas_compat",
    "ropewalk.kernel.perform",
    "ropewalk.kernel.flight",
)
BOTO = "ropewalk.kernel.boto_ready"
COLLECT_SECONDS = 3600.0  # that one collection may take
MEND_LEASES = 6  # between two looks at what killed tasks have left
SOCKET_FOLDER = 80  # bytes of a path that leave room for the socket's own name


def main(path: str) -> None:
    """Run the stage whose module is ``path``; exits with 2 and one sentence where a setting is wrong."""
    log_as_json()
    try:
        stage = load(path)
        settings = checked(settings_of(stage.name))
        log_as_json(settings)
    except RopewalkError as error:
        _refuse(error)
    with own_folder(settings.scratch_dir) as scratch:
        _serve(path, stage, settings.model_copy(update={"scratch_dir": scratch}))


def _serve(path: str, stage: Stage, settings: Settings) -> None:
    try:
        app = application(path, stage, settings)
    except RopewalkError as error:
        _refuse(error)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=bounded_protocol(settings),
        **Tls.of(settings).uvicorn(),
        timeout_graceful_shutdown=2,
    )


def _refuse(error: RopewalkError) -> NoReturn:
    log.critical("stage.refused", code=error.code, error=str(error))
    sys.exit(2)


def application(path: str, stage: Stage, settings: Settings) -> FastAPI:
    """The stage's application, with all that works behind its routes."""
    ledger = Ledger.at(database_url(settings), stage.name)
    store = ManifestStore.open(settings)

    @contextlib.asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        await asyncio.to_thread(_prepare, path, stage, settings)
        runner = Runner(path, settings, ledger)
        await ledger.pool.open()
        flight = FlightProcess(path, settings)
        jobs = [
            runner.work(), listen(service, runner), flight.keep(), collect_often(service), mend_often(service),
        ]  # fmt: skip
        tasks = [asyncio.create_task(job) for job in jobs]
        log.info("stage.up", stage=stage.name, port=settings.port, flight=settings.flight_port)
        try:
            yield
        finally:
            await end(tasks)
            await ledger.pool.close()

    collect = partial(_collect, path, settings)
    return build(Service(stage, settings, ledger, store, collect), run)


async def collect_often(service: Service) -> None:
    """Collect garbage from time to time; what goes wrong is told, and tried again the next time."""
    while True:
        await asyncio.sleep(service.settings.collect_seconds)
        try:
            await service.collect()
        except RopewalkError as error:
            log.warning("garbage.failed", error=str(error))


async def mend_often(service: Service) -> None:
    """Finish what killed tasks have left half done outside: at once, and then from time to time."""
    if service.stage.mend is None:
        return
    module, _, name = service.stage.mend.partition(":")
    mend = getattr(importlib.import_module(module), name)
    while True:
        try:
            await asyncio.to_thread(mend)
        except RopewalkError as error:
            log.warning("mend.failed", error=str(error))
        await asyncio.sleep(MEND_LEASES * service.settings.lease_seconds)


def _collect(path: str, settings: Settings, dry_run: bool) -> bytes:  # noqa: FBT001 - a route's
    """One collection, in a child: it reads datasets."""
    return aside(
        _collect_here, path, settings, dry_run,
        seconds=COLLECT_SECONDS, memory=settings.memory_limit,
    )  # fmt: skip


def _collect_here(path: str, settings: Settings, dry_run: bool) -> bytes:  # noqa: FBT001 - across a pipe
    from ropewalk.kernel.garbage import collect_garbage

    if not dry_run:
        sweep(settings.scratch_dir.parent)
    return collect_garbage(path, settings, database_url(settings), dry_run=dry_run)


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a cancel that meets a time-out is lost before Python 3.12."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)


async def listen(service: Service, runner: Runner) -> None:
    """Hear what any replica tells of the ledger: a task waits, a task has ended."""
    while True:
        try:
            await _listen(service, runner)
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError):
            log.warning("ledger.unheard")
            await asyncio.sleep(1)


async def _listen(service: Service, runner: Runner) -> None:
    connection = await psycopg.AsyncConnection.connect(
        database_url(service.settings), autocommit=True, application_name="ropewalk:listen"
    )
    async with connection:
        await connection.execute(f'LISTEN "{service.ledger.channel}"')
        runner.wake.set()
        async for notice in connection.notifies():
            what, _, key = notice.payload.partition(" ")
            if what == "queued":
                runner.wake.set()
            elif what == "ended":
                service.ended(key)
                runner.ended(key)


def checked(settings: Settings) -> Settings:
    """The settings, or a ConfigError that names the variable without which no stage starts."""
    Verifier(settings.public_keys, ()).check_keys()
    Tls.of(settings).check()
    database_url(settings)
    refuse_weak_secrets(settings)
    refuse_open_house(settings)
    return settings


def database_url(settings: Settings) -> str:
    """Where the stage's ledger is."""
    if settings.database_url is None:
        raise ConfigError(
            "ROPEWALK_DATABASE_URL must name the stage's Postgres", code="no_database"
        )
    return settings.database_url.get_secret_value()


def _prepare(path: str, stage: Stage, settings: Settings) -> None:
    """Start the fork server, and bring the ledger's tables up to date in a first child of it."""
    _shelter_socket(settings.scratch_dir / "fork")
    context = multiprocessing.get_context("forkserver")
    plugins = [one.module.__name__ for kind in stage.kinds for one in all_plugins(kind)]
    bucket = [BOTO] if settings.store_url.startswith("s3://") else []
    context.set_forkserver_preload([*PRELOAD, path, *bucket, *stage.preload, *plugins])
    child = context.Process(target=_migrate, args=(database_url(settings), stage.name))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise ConfigError(f"the tables of the ledger cannot be made (exit {child.exitcode})")


def _shelter_socket(folder: Path) -> None:
    """Keep the fork server's socket where no cleaner of /tmp removes it from under a service that runs for weeks.

    A path too long for a Unix socket (108 bytes) stays with multiprocessing's own choice.
    """
    if len(os.fsencode(folder)) <= SOCKET_FOLDER:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        multiprocessing.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]  # noqa: SLF001


def _migrate(url: str, schema: str) -> None:
    from ropewalk.kernel.migrations import migrate

    migrate(url, schema)
