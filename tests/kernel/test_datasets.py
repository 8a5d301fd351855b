"""Datasets: all or nothing, checked at every read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from ropewalk.contracts.errors import DataError, FatalError, NotFoundError, RetryableError
from ropewalk.contracts.models import DatasetRef, Report
from ropewalk.kernel.datasets import BATCH_ROWS, DatasetStore, Draft
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings

KEY = "ab" * 32
TABLE = pa.table(
    {"n": pa.array(range(100_000), pa.int64()), "s": [f"word {n % 7}" for n in range(100_000)]}
)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """An empty store."""
    return open_store(
        Settings(store_url=(tmp_path / "store").as_uri(), scratch_dir=tmp_path / "scratch")
    )


def commit(draft: Draft) -> DatasetRef:
    """Commit a draft with a plain report."""
    outputs = draft.finish()
    now = datetime(2013, 1, 1, tzinfo=UTC)
    report = Report(
        key=KEY,
        workflow="w",
        step="s",
        stage="collect",
        plugins=[],
        run="r",
        outputs=outputs,
        started=now,
        ended=now,
    )
    return draft.commit(report, before=lambda: None).report.outputs["data"]


def write(store: DatasetStore, table: pa.Table = TABLE) -> DatasetRef:
    """Write and commit a table."""
    draft = store.draft(KEY)
    draft.writer("data", table.schema).write(table)
    return commit(draft)


def test_what_is_written_is_read(store: DatasetStore) -> None:
    ref = write(store)
    dataset = store.dataset(ref)
    assert (ref.rows, dataset.rows) == (100_000, 100_000)
    assert dataset.table().equals(TABLE)
    assert dataset.reader().read_all().equals(TABLE)
    assert [column.type for column in dataset.columns] == ["int64", "string"]


def test_nothing_is_visible_before_the_commit_and_nothing_is_left_after_a_discard(
    store: DatasetStore, tmp_path: Path
) -> None:
    draft = store.draft(KEY)
    draft.writer("data", TABLE.schema).write(TABLE)
    draft.add_artifact("index.html", b"<p>")
    draft.finish()
    assert store.manifest(KEY) is None
    assert list(store.committed()) == []
    draft.discard()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_attempt_that_was_overtaken_cannot_commit(store: DatasetStore) -> None:
    """Even where it was about to, and its successor failed since."""
    first, second = store.draft(KEY, 1), store.draft(KEY, 2)
    for draft in (first, second):
        draft.writer("data", TABLE.schema).write(TABLE.slice(0, 3))
        draft.finish()
    second.discard()
    with pytest.raises(RetryableError, match="a later attempt has taken tasks/ab/"):
        commit(first)
    first.discard()
    assert store.manifest(KEY) is None
    assert list(store.objects.names("tasks")) == []


def test_what_was_committed_before_a_later_attempt_began_counts(store: DatasetStore) -> None:
    first = store.draft(KEY, 1)
    first.writer("data", TABLE.schema).write(TABLE.slice(0, 3))
    commit(first)
    second = store.draft(KEY, 2)
    second.writer("data", TABLE.schema).write(TABLE.slice(0, 4))
    assert commit(second).rows == 3
    assert len(list(store.objects.names("tasks"))) == 2


def test_an_attempt_that_comes_too_late_leaves_the_seat_to_the_later_one(
    store: DatasetStore,
) -> None:
    """Else that could not commit either, and all its work would have to be done again."""
    late, now = store.draft(KEY, 1), store.draft(KEY, 2)
    for draft in (late, now):
        draft.writer("data", TABLE.schema).write(TABLE)
        draft.finish()
    with pytest.raises(RetryableError, match="a later attempt"):
        commit(late)
    late.discard()
    commit(now)
    found = store.manifest(KEY)
    assert found is not None
    assert found.attempt == now.attempt


def test_a_commit_whose_outcome_is_unknown_keeps_what_it_may_have_made_visible(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails after the manifest is there must not lead to a manifest of files that are gone."""
    draft = store.draft(KEY)
    draft.writer("data", TABLE.schema).write(TABLE)
    ref = draft.finish()["data"]
    create = store.objects.create

    def and_then_fail(name: str, data: bytes, seat: str = "") -> bool:
        create(name, data, seat)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store.objects, "create", and_then_fail)
    with pytest.raises(OSError, match="Input/output error"):
        commit(draft)
    draft.discard()
    assert store.dataset(ref).table().equals(TABLE)


def test_a_flipped_bit_is_noticed(store: DatasetStore) -> None:
    ref = write(store)
    (part,) = Path(store.objects.root).rglob("*.arrow")  # type: ignore[attr-defined]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(
        RetryableError, match=r"is damaged: its bytes are not those that were written"
    ):
        store.dataset(ref)


def test_a_cut_part_is_noticed(store: DatasetStore) -> None:
    ref = write(store)
    (part,) = Path(store.objects.root).rglob("*.arrow")  # type: ignore[attr-defined]
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(RetryableError, match="is damaged"):
        store.dataset(ref)


def test_another_content_than_asked_for_is_refused(store: DatasetStore) -> None:
    ref = write(store)
    with pytest.raises(FatalError, match="is not the one that was asked for"):
        store.dataset(ref.model_copy(update={"rows": 1}))
    with pytest.raises(NotFoundError, match="the dataset store has no dataset"):
        store.dataset(ref.model_copy(update={"id": f"{'0' * 64}/data"}))


def test_batches_are_bounded_and_small_ones_joined(store: DatasetStore) -> None:
    draft = store.draft(KEY)
    writer = draft.writer("data", TABLE.schema)
    for start in range(0, 100_000, 100):
        writer.write(TABLE.slice(start, 100))
    sizes = [batch.num_rows for batch in store.dataset(commit(draft)).reader()]
    assert max(sizes) <= BATCH_ROWS + 100
    assert len(sizes) == 2


def test_an_empty_dataset_keeps_its_schema(store: DatasetStore) -> None:
    ref = write(store, TABLE.slice(0, 0))
    assert (ref.rows, store.dataset(ref).schema) == (0, TABLE.schema)


def test_dictionaries_and_views_are_written_plain(store: DatasetStore) -> None:
    table = pa.table(
        {
            "d": pa.array(["a", "b", "a"]).dictionary_encode(),
            "v": pa.array(["x", None, "y"], pa.string_view()),
        }
    )
    found = store.dataset(write(store, table)).table()
    assert found.to_pydict() == {"d": ["a", "b", "a"], "v": ["x", None, "y"]}
    assert found.schema.types == [pa.string(), pa.string()]


def test_two_columns_of_one_name_are_refused(store: DatasetStore) -> None:
    table = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(DataError, match="two columns are named 'a'"):
        write(store, table)


def test_an_artifact_that_cannot_be_added_fails_the_commit_and_leaves_nothing(
    store: DatasetStore, tmp_path: Path
) -> None:
    draft = store.draft(KEY)
    in_its_way = tmp_path / "store" / "tasks" / KEY[:2] / KEY / f"{draft.attempt}-b.txt"
    in_its_way.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        draft.add_artifact(name, b"here")
    with pytest.raises(OSError, match=r"b\.txt"):
        commit(draft)
    assert store.manifest(KEY) is None
    in_its_way.rmdir()
    draft.discard()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_artifact_is_read_back_and_checked(store: DatasetStore) -> None:
    draft = store.draft(KEY)
    draft.add_artifact("chart.svg", b"<svg/>")
    draft.writer("data", TABLE.schema)
    commit(draft)
    assert store.artifact(KEY, "chart.svg")[0] == b"<svg/>"
    assert store.artifact(KEY, "chart.svg")[1].media_type == "image/svg+xml"
    with pytest.raises(NotFoundError, match=r"there is no file '\.\./x' of task abababababab"):
        store.artifact(KEY, "../x")
