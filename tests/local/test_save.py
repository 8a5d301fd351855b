"""The dataset store as a backup has it, taken while tasks write to it and its garbage is collected."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ropewalk.contracts.models import DatasetRef, Report
from ropewalk.kernel.datasets import DatasetStore, Draft
from ropewalk.kernel.manifests import MANIFEST
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings

SAVE = Path(__file__).parents[2] / "containers/save.py"
TABLE = pa.table({"n": pa.array(range(100), pa.int64())})
KEPT, OLD, NEW, AGAIN = ("0a" * 32, "5b" * 32, "7c" * 32, "9d" * 32)
FILES = 9  # of three tasks with two outputs each


def loaded() -> Any:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("save", SAVE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def store_in(folder: Path) -> DatasetStore:
    return open_store(Settings(store_url=(folder / "store").as_uri(), scratch_dir=folder / "tmp"))


def drafted(store: DatasetStore, key: str) -> Draft:
    """What a task has written, of two outputs, and not yet committed."""
    draft = store.draft(key)
    for output in ("data", "more"):
        draft.writer(output, TABLE.schema).write(TABLE)
    return draft


def commit(draft: Draft) -> list[DatasetRef]:
    now = datetime(2013, 1, 1, tzinfo=UTC)
    report = Report(
        key=draft.key, workflow="w", step="s", stage="collect", plugins=[], run="r",
        outputs=draft.finish(), started=now, ended=now,
    )  # fmt: skip
    return list(draft.commit(report, before=lambda: None).report.outputs.values())


def bury(store: DatasetStore, key: str) -> None:
    """Remove a task's outputs as the collector does it: the manifest first."""
    names = list(store.objects.names(f"tasks/{key[:2]}/{key}"))
    for name in sorted(names, key=lambda name: not name.endswith(MANIFEST)):
        store.objects.delete(name)


class Disturbed(tarfile.TarFile):
    """A tar during whose making something happens."""

    left = 0

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
        if self.left == 0:
            self.happens()
        self.left -= 1
        super().addfile(tarinfo, fileobj)

    happens: Callable[[], None]


@pytest.mark.parametrize("moment", range(FILES))
def test_what_a_saved_manifest_names_is_saved_whatever_happens_meanwhile(
    tmp_path: Path, moment: int
) -> None:
    store = store_in(tmp_path)
    kept = commit(drafted(store, KEPT))
    for key in (OLD, AGAIN):
        commit(drafted(store, key))
    new = drafted(store, NEW)

    def happens() -> None:
        bury(store, OLD)
        bury(store, AGAIN)
        commit(drafted(store, AGAIN))
        commit(new)
        store.draft("ff" * 32)  # a seat

    saved = tmp_path / "saved.tar"
    with Disturbed.open(saved, "w", dereference=True) as tar:
        assert isinstance(tar, Disturbed)
        tar.left, tar.happens = moment, happens
        loaded().save(tmp_path / "store", tar)
        assert tar.left < 0  # it has happened
    found = unpacked(saved, tmp_path / "restored")
    assert KEPT in set(found.committed())
    assert all(found.dataset(ref).table().equals(TABLE) for ref in kept)
    for key in found.committed():
        manifest = found.manifest(key)
        assert manifest is not None
        for ref in manifest.report.outputs.values():
            assert found.dataset(ref).table().equals(TABLE)


def unpacked(saved: Path, folder: Path) -> DatasetStore:
    with tarfile.open(saved) as tar:
        assert not [name for name in tar.getnames() if Path(name).name.startswith(".")]
        if hasattr(tarfile, "data_filter"):  # which Python has since 3.11.4
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(folder / "store")  # noqa: S202 - it is our own
    return store_in(folder)


def test_as_it_is_called_it_writes_all_to_standard_output(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    refs = commit(drafted(store, KEPT))
    command = [sys.executable, "-IS", "-", str(tmp_path / "store")]
    with SAVE.open("rb") as script, (tmp_path / "saved.tar").open("wb") as out:
        subprocess.run(command, stdin=script, stdout=out, check=True)
    found = unpacked(tmp_path / "saved.tar", tmp_path / "restored")
    assert list(found.committed()) == [KEPT]
    assert [found.dataset(ref).table() for ref in refs] == [TABLE, TABLE]


def test_what_cannot_be_read_fails_and_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/file").symlink_to("file")  # to itself
    command = [sys.executable, "-IS", str(SAVE), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1
