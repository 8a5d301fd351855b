"""Files of every format, whole and broken."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import hypothesis
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import strategies as st
from pyarrow import csv as pacsv
from pyarrow import feather
from ropewalk.contracts.errors import ConfigError, DataError, RetryableError
from ropewalk.kernel.task import Task
from ropewalk.testing.bench import DAY, TaskBench
from ropewalk.testing.s3 import PASSWORD, USER, s3_server
from ropewalk.testing.sources import SourceSuite

TEXT = (
    "n,word,at\n1,one,2013-01-01T05:00:00Z\n2,two,2013-01-01T06:00:00Z\n3,,2013-01-03T00:00:00Z\n"
)
COLUMNS = {"n": "integer", "word": "string", "at": "timestamp"}
ROWS: list[dict[str, Any]] = [
    {"n": 1, "word": "one", "at": dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)},
    {"n": 2, "word": "two", "at": dt.datetime(2013, 1, 1, 6, tzinfo=dt.UTC)},
    {"n": 3, "word": None, "at": dt.datetime(2013, 1, 3, tzinfo=dt.UTC)},
]
TABLE = pa.Table.from_pylist(
    ROWS,
    schema=pa.schema({"n": pa.int64(), "word": pa.string(), "at": pa.timestamp("us", "UTC")}),
)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root ``data://``."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(folder))
    (folder / "days.csv").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> TaskBench:
    """The stage, with a dataset store of its own."""
    return TaskBench(tmp_path)


def collect(bench: TaskBench, path: str, **options: Any) -> list[dict[str, Any]]:
    """The rows that a step reads."""
    report = bench.run("collect", [("files", {"path": path, **options})])
    rows: list[dict[str, Any]] = bench.table(report).to_pylist()
    return rows


class TestSuite(SourceSuite):
    plugin = "files"
    options = {"path": "data://days.csv", "columns": COLUMNS}
    rows = 3


class TestFormats:
    def test_csv(self, bench: TaskBench) -> None:
        assert collect(bench, "data://days.csv", columns=COLUMNS) == ROWS

    def test_csv_without_declared_types_has_those_that_fit(self, bench: TaskBench) -> None:
        assert collect(bench, "data://days.csv") == ROWS

    @pytest.mark.parametrize("name", ["days.jsonl", "days.json", "days.ndjson"])
    def test_json(self, bench: TaskBench, root: Path, name: str) -> None:
        rows = [{**row, "at": row["at"].isoformat()} for row in ROWS]
        lines = json.dumps(rows) if name == "days.json" else "\n".join(map(json.dumps, rows))
        (root / name).write_text(lines, encoding="utf-8")
        assert collect(bench, f"data://{name}", columns=COLUMNS) == ROWS

    def test_records_within_a_document(self, bench: TaskBench, root: Path) -> None:
        (root / "deep.json").write_text(
            '{"data": {"items": [{"n": 1}, {"n": 2}]}}', encoding="utf-8"
        )
        assert collect(bench, "data://deep.json", records="data.items") == [{"n": 1}, {"n": 2}]
        with pytest.raises(
            DataError, match="the document has object at its top, not a list of records"
        ):
            collect(bench, "data://deep.json")

    def test_parquet_and_arrow(self, bench: TaskBench, root: Path) -> None:
        pq.write_table(TABLE, root / "days.parquet")
        feather.write_feather(TABLE, str(root / "days.arrow"))
        with pa.ipc.new_stream(str(root / "stream.arrow"), TABLE.schema) as stream:
            stream.write_table(TABLE)
        for name in ("days.parquet", "days.arrow", "stream.arrow"):
            assert collect(bench, f"data://{name}") == ROWS

    def test_excel(self, bench: TaskBench, root: Path) -> None:
        book = openpyxl.Workbook()
        book.active.title = "Days"
        for row in [["n", "word"], [1, "one"], [2, "two"]]:
            book.active.append(row)
        book.save(root / "days.xlsx")
        columns = {"n": "integer", "word": "string"}
        assert collect(bench, "data://days.xlsx", columns=columns) == [
            {"n": 1, "word": "one"}, {"n": 2, "word": "two"},
        ]  # fmt: skip
        with pytest.raises(ConfigError, match="has no sheet 'Dasy'") as caught:
            collect(bench, "data://days.xlsx", sheet="Dasy")
        assert caught.value.hint == "did you mean 'Days'?"

    @pytest.mark.parametrize("ending", ["gz", "zip", "zst"])
    def test_packed(self, bench: TaskBench, root: Path, ending: str) -> None:
        raw, packed = TEXT.encode(), root / f"packed.csv.{ending}"
        if ending == "gz":
            packed.write_bytes(gzip.compress(raw))
        elif ending == "zst":
            packed.write_bytes(zstandard.compress(raw))
        else:
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("../../days.csv", raw)  # a name in an archive is no path
        assert collect(bench, f"data://packed.csv.{ending}", columns=COLUMNS) == ROWS

    def test_a_dialect(self, bench: TaskBench, root: Path) -> None:
        (root / "d.csv").write_bytes("1;grün;NA\n2;blau;3\n".encode("latin-1"))
        options = {"delimiter": ";", "encoding": "latin-1", "header": False, "nulls": ["NA"]}
        assert collect(bench, "data://d.csv", **options) == [
            {"column_1": 1, "column_2": "grün", "column_3": None},
            {"column_1": 2, "column_2": "blau", "column_3": 3},
        ]

    def test_a_bucket(
        self, bench: TaskBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import boto3

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
        (tmp_path / "s3").mkdir()
        with s3_server(tmp_path / "s3") as url:
            client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
            for name in ("a", "b"):
                client.put_object(Bucket="ready", Key=f"lake/2013/{name}.csv", Body=TEXT.encode())
            monkeypatch.setenv("ROPEWALK_ROOT_LAKE", f"s3://ready/lake?endpoint={url}")
            assert collect(bench, "lake://2013/*.csv", columns=COLUMNS) == ROWS + ROWS


class TestWhich:
    def test_a_glob_reads_all_in_order(self, bench: TaskBench, root: Path) -> None:
        for name, n in (("b", 2), ("a", 1), ("c/d", 3)):
            path = root / "many" / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"n\n{n}\n", encoding="utf-8")
        assert collect(bench, "data://many/*.csv") == [{"n": 1}, {"n": 2}]
        assert collect(bench, "data://many/**/*.csv") == [{"n": 1}, {"n": 2}, {"n": 3}]

    def test_only_what_is_asked_for(self, bench: TaskBench) -> None:
        values = {"partition.start": DAY.start.isoformat(), "partition.end": DAY.end.isoformat()}
        condition = '"at" >= {{ partition.start }} AND "at" < {{ partition.end }}'
        options = {
            "path": "data://days.csv",
            "columns": COLUMNS,
            "where": condition,
            "select": ["n", "at"],
        }
        report = bench.run("collect", [("files", options)], values=values, partition=DAY)
        assert bench.table(report)["n"].to_pylist() == [1, 2]
        assert report.rows.dropped == {"where": 1}

    @pytest.mark.parametrize("condition", ["n > 1; DROP TABLE data", "n >", "1 = 1) --"])
    def test_a_condition_is_one_condition(self, bench: TaskBench, condition: str) -> None:
        with pytest.raises(ConfigError, match="^where"):
            collect(bench, "data://days.csv", where=condition)

    def test_a_condition_reads_nothing_else(self, bench: TaskBench) -> None:
        with pytest.raises(ConfigError, match="where"):
            collect(bench, "data://days.csv", where="n IN (SELECT 1 FROM read_csv('/etc/passwd'))")

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT 1 FROM glob('{spill}/*')",  # which DuckDB's lock leaves open
            "FROM '{spill}/x.csv'",
            "SELECT n FROM data",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "SELECT 1 UNION SELECT 2",
        ],
    )
    def test_a_condition_has_no_query_in_it(
        self, bench: TaskBench, tmp_path: Path, query: str
    ) -> None:
        inner = query.replace("{spill}", str(tmp_path))
        with pytest.raises(ConfigError, match="^where is a condition over the rows' own columns"):
            collect(bench, "data://days.csv", where=f"n IN ({inner})")

    def test_a_missing_file_is_told_with_the_nearest(self, bench: TaskBench) -> None:
        with pytest.raises(DataError) as caught:
            collect(bench, "data://dais.csv")
        assert str(caught.value) == "there is no file data://dais.csv (did you mean 'days.csv'?)"
        assert collect(bench, "data://dais.csv", missing="empty", columns=COLUMNS) == []

    def test_an_unknown_root(self, bench: TaskBench) -> None:
        with pytest.raises(ConfigError, match="this stage has no root 'daat'") as caught:
            collect(bench, "daat://days.csv")
        assert caught.value.hint == "did you mean 'data'?"

    @pytest.mark.parametrize(
        "path",
        [
            "data://../secret",
            "data:///etc/passwd",
            "data://a/../../secret",
            "/etc/passwd",
            "file:///etc/passwd",
        ],
    )
    def test_a_root_cannot_be_left(self, bench: TaskBench, path: str) -> None:
        with pytest.raises(ConfigError, match="is not a path|has no root"):
            collect(bench, path, format="csv")

    def test_a_link_leads_nowhere_else(self, bench: TaskBench, root: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.csv").write_text("n\n1\n", encoding="utf-8")
        (root / "link.csv").symlink_to(tmp_path / "secret.csv")
        with pytest.raises(ConfigError, match="'link.csv' leads out of data://"):
            collect(bench, "data://link.csv")


class TestBroken:
    """What is no row goes to quarantine, with its line and the reason."""

    def aside(self, bench: TaskBench, path: str, **options: Any) -> tuple[list[Any], list[Any]]:
        """The rows that were read, and line, rule, column, reason and text of those that were not."""
        report = bench.run("collect", [("files", {"path": path, **options})])
        assert report.rows.quarantined == len(bench.quarantine(report))
        told = [
            (row["line"], row["rule"], row["column"], row["reason"], row["row"])
            for row in bench.quarantine(report)
        ]
        return bench.table(report).to_pylist(), sorted(told)

    def test_ragged_rows_broken_bytes_open_quotes_and_wrong_values(
        self, bench: TaskBench, root: Path
    ) -> None:
        lines = [
            b"n,word",
            b"1,one",
            b"2",
            b"3,three,extra",
            b"four,4",
            b"\xff\xfe,5",
            b"",
            b'6,"six',
            b"7,seven",
        ]
        (root / "bad.csv").write_bytes(b"\n".join(lines) + b"\n")
        rows, aside = self.aside(
            bench, "data://bad.csv", columns={"n": "integer", "word": "string"}
        )
        assert rows == [{"n": 1, "word": "one"}, {"n": 7, "word": "seven"}]
        assert aside == [
            (3, "parse", None, "1 values, where there are 2 columns", "2"),
            (4, "parse", None, "3 values, where there are 2 columns", "3,three,extra"),
            (5, "type", "n", "n: four is no int64", '{"n":"four","word":"4"}'),
            (6, "parse", None, "the bytes are not utf-8", "\ufffd\ufffd,5"),
            (8, "parse", None, "a quote is not closed", '6,"six'),
        ]

    def test_lines_that_are_no_json(self, bench: TaskBench, root: Path) -> None:
        (root / "bad.jsonl").write_text('{"n": 1}\n{"n": \n[1]\n{"n": "two"}\n{"n": 3}\n', "utf-8")
        rows, aside = self.aside(bench, "data://bad.jsonl", columns={"n": "integer"})
        assert rows == [{"n": 1}, {"n": 3}]
        assert [(line, text) for line, _, _, _, text in aside] == [
            (2, '{"n": '),
            (3, "[1]"),
            (4, '{"n": "two"}'),
        ]

    def test_too_many_bad_rows_stop_the_step(self, bench: TaskBench, root: Path) -> None:
        (root / "bad.csv").write_text("n\n1\nx\n", "utf-8")
        with pytest.raises(DataError) as caught:
            bench.run(
                "collect",
                [("files", {"path": "data://bad.csv", "columns": {"n": "integer"}})],
                max_quarantined="10%",
            )
        assert str(caught.value) == ("1 of 2 rows are in quarantine: more than max_quarantined 10%")

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ("", "the file is empty: it has no header"),
            ("a,a\n1,2\n", "two columns are named 'a'"),
            ("a,,b\n1,2,3\n", "column 2 has no name"),
            ("a;b\n1;2\n", "the header is one column; ';' seems to part its values"),
        ],
    )
    def test_a_header_that_is_none(
        self, bench: TaskBench, root: Path, header: str, said: str
    ) -> None:
        (root / "h.csv").write_text(header, "utf-8")
        with pytest.raises(DataError) as caught:
            collect(bench, "data://h.csv")
        assert said in str(caught.value)
        assert "data://h.csv" in str(caught.value)

    def test_a_column_that_is_not_there(self, bench: TaskBench) -> None:
        with pytest.raises(DataError, match=r"data://days\.csv has no column 'wrod'") as caught:
            collect(bench, "data://days.csv", columns={"wrod": "string"})
        assert caught.value.hint == "did you mean 'word'?"

    def test_a_type_that_is_none(self, bench: TaskBench) -> None:
        with pytest.raises(ConfigError, match="there is no type 'intger'") as caught:
            collect(bench, "data://days.csv", columns={"n": "intger"})
        assert caught.value.hint == "did you mean 'integer'?"

    @pytest.mark.parametrize(
        "name", ["days.parquet", "days.arrow", "days.csv.gz", "days.zip", "days.xlsx"]
    )
    def test_a_file_that_was_cut(self, bench: TaskBench, root: Path, name: str) -> None:
        whole = _written(root, name)
        (root / name).write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(DataError, match="damaged|no Excel file"):
            collect(bench, f"data://{name}")

    @pytest.mark.parametrize("at", [0.2, 0.4, 0.6])
    def test_flipped_bits_in_parquet_are_found_by_its_checksums(
        self, bench: TaskBench, root: Path, at: float
    ) -> None:
        big = pa.table({"n": range(20_000)})
        pq.write_table(
            big,
            root / "big.parquet",
            write_page_checksum=True,
            compression="none",
            use_dictionary=False,
        )
        data = bytearray((root / "big.parquet").read_bytes())
        data[int(len(data) * at)] ^= 0x10
        (root / "big.parquet").write_bytes(data)
        with pytest.raises(DataError, match="the file is damaged"):
            collect(bench, "data://big.parquet")

    @pytest.mark.parametrize("change", ["grows", "is another"])
    def test_a_file_that_changes_while_it_is_read_is_read_again_later(
        self, bench: TaskBench, root: Path, tmp_path: Path, change: str
    ) -> None:
        path = root / "live.csv"
        path.write_bytes(b"n,w\n" + b"1,x\n" * 3_000_000)
        request = bench.request("collect", [("files", {"path": "data://live.csv"})])
        task = Task(request, bench.store, bench.settings, tmp_path)
        source, options = task.use("source")
        reader = source.function(options, task)  # has read the first block
        if change == "grows":
            with path.open("ab") as file:
                file.write(b"2,y\n")
        else:
            path.write_bytes(path.read_bytes())
        with pytest.raises(RetryableError) as caught:
            reader.read_all()
        assert str(caught.value) == (
            "data://live.csv: the file changed while it was read"
            " (write files aside, and rename them when they are whole)"
        )

    def test_what_is_wrong_with_rows_is_told_as_such_where_they_are_filtered(
        self, bench: TaskBench, root: Path
    ) -> None:
        text = b"n,w\n" + b"1,x\n" * 3_000_000
        (root / "cut.csv.gz").write_bytes(gzip.compress(text, 1)[:-6])
        with pytest.raises(DataError, match="cut.csv.gz: the file is damaged: Truncated"):
            collect(bench, "data://cut.csv.gz", where="n > 1")

    def test_a_bomb_of_brackets_is_set_aside(self, bench: TaskBench, root: Path) -> None:
        (root / "deep.jsonl").write_text('{"n": 1}\n{"n": ' + "[" * 100_000 + "\n", "utf-8")
        rows, aside = self.aside(bench, "data://deep.jsonl")
        assert rows == [{"n": 1}]
        assert aside[0][3] == "the record nests deeper than 64 brackets"


def _written(root: Path, name: str) -> bytes:
    """The bytes of a good file of that name."""
    big = pa.table({"n": range(5_000), "word": [f"word {n}" for n in range(5_000)]})
    path = root / name
    if name.endswith("parquet"):
        pq.write_table(big, path)
    elif name.endswith("arrow"):
        feather.write_feather(big, str(path), compression="uncompressed")
    elif name.endswith("xlsx"):
        book = openpyxl.Workbook()
        for n in range(500):
            book.active.append([n, f"word {n}"])
        book.save(path)
    else:
        text = io.BytesIO()
        pacsv.write_csv(big, text)
        if name.endswith("gz"):
            path.write_bytes(gzip.compress(text.getvalue()))
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("days.csv", text.getvalue())
    return path.read_bytes()


values = st.one_of(
    st.none(),
    st.text(
        st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]),
        min_size=1,
        max_size=8,
    ),
)


@hypothesis.given(rows=st.lists(st.tuples(values, st.integers(-(2**63), 2**63 - 1)), max_size=20))
@hypothesis.settings(
    max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_csv_that_arrow_wrote_is_read_as_it_was(
    bench: TaskBench, root: Path, rows: list[tuple[str | None, int]]
) -> None:
    """Any text with any quotes and commas."""
    schema = pa.schema({"word": pa.string(), "n": pa.int64()})
    table = pa.Table.from_pylist([{"word": word, "n": n} for word, n in rows], schema)
    pacsv.write_csv(table, root / "round.csv")
    found = collect(bench, "data://round.csv", columns={"word": "string", "n": "integer"})
    assert found == table.to_pylist()
