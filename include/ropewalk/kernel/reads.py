"""Which read of a partition counts: the last that was asked for anew, by a clear or by a refresh.

Runs ask for a partition as it was read first (generation ``0``). A read that was asked for anew has another key; that
it was asked for is told beside the tasks, before it begins, at ``reads/ab/<key of the first>/<number>-<its key>``. Who
asks for the first from then on gets that one: waits for it, takes it, or reads the source again where it is no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.contracts.keys import task_key

if TYPE_CHECKING:
    from ropewalk.contracts.models import TaskRequest
    from ropewalk.kernel.manifests import ManifestStore

OF_A_RUN = {"store", "present"}  # stages whose every task is of one run
FIRST = "0"
READS = "reads"


def settled(request: TaskRequest, store: ManifestStore) -> TaskRequest:
    """The request for the read that counts, which this is where it asks for one anew."""
    if not _is_read(request):
        return request
    if request.generation == FIRST:
        return latest(request, store)
    told, key = list(store.objects.names(_folder(request))), task_key(request)
    if not any(name.endswith(key) for name in told):
        number = 1 + max((_number(name) for name in told), default=0)
        name = f"{_folder(request)}/{number:08d}-{key}"
        store.objects.create(name, request.generation.encode())
    return request


def latest(request: TaskRequest, store: ManifestStore) -> TaskRequest:
    """The request for the last read of its partition, where it asks for the first and there was another since."""
    told = list(store.objects.names(_folder(request))) if _is_read(request) else []
    if not told or request.generation != FIRST:
        return request
    generation = store.objects.read(told[-1]).decode()
    return request.model_copy(update={"generation": generation})


def _is_read(request: TaskRequest) -> bool:
    alone = request.partition is not None and not request.batch
    return alone and bool(request.generation) and request.stage not in OF_A_RUN


def _folder(request: TaskRequest) -> str:
    key = task_key(request.model_copy(update={"generation": FIRST}))
    return f"{READS}/{key[:2]}/{key}"


def _number(name: str) -> int:
    return int(name.rpartition("/")[2].partition("-")[0])
