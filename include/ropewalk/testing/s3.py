"""A real S3 server for tests and benchmarks: SeaweedFS, one process, in a folder of its own."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ropewalk.contracts.errors import RetryableError
from ropewalk.local.free_ports import free_port

USER, PASSWORD = "ropewalk", "the-secret-of-a-test"
PATIENCE = 30.0  # seconds
CONFIG = """{"identities": [{"name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}"""


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The URL of a running server; `USER` and `PASSWORD` open it."""
    config = folder / "s3.json"
    config.write_text(CONFIG % (USER, PASSWORD), encoding="ascii")
    names = (
        "master",
        "master.port.grpc",
        "volume",
        "volume.port.grpc",
        "filer",
        "filer.port.grpc",
        "s3",
        "s3.port.grpc",
    )
    ports = dict(zip(names, itertools.count(free_port(len(names)))))
    options = [f"-{name if '.' in name else f'{name}.port'}={port}" for name, port in ports.items()]
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    command = [
        weed,
        "server",
        "-ip=127.0.0.1",
        f"-dir={folder}",
        "-s3",
        f"-s3.config={config}",
        "-volume.max=20",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",  # none, nor the next: their ports would be the same for every server
        "-s3.port.lance=0",
        *options,
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{ports['s3']}"
        _wait(url, process, folder / "weed.log")
        yield url
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a bucket can be made."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=USER,
        aws_secret_access_key=PASSWORD,
    )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (ClientError, BotoCoreError):
            time.sleep(0.1)
        else:
            return
    raise RetryableError(f"the S3 server did not start:\n{log.read_text(errors='replace')[-3000:]}")
