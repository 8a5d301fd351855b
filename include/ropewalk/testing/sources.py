"""The conformance suite of sources: inherit it, name the plugin, its options, and how many rows they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Report
from ropewalk.contracts.plugins import plugin
from ropewalk.testing.bench import TaskBench


class SourceSuite:
    """What every source keeps."""

    plugin: ClassVar[str]
    options: ClassVar[dict[str, Any]]
    rows: ClassVar[int]

    @pytest.fixture
    def bench(self, tmp_path: Path) -> TaskBench:
        """The stage, with a dataset store of its own."""
        return TaskBench(tmp_path)

    def collect(self, bench: TaskBench, **options: Any) -> Report:
        """The report of a step that reads with the suite's options, or with others."""
        values = options.pop("values", None)
        more = {name: options.pop(name) for name in ("partition",) if name in options}
        do = [(self.plugin, {**self.options, **options})]
        return bench.run("collect", do, values=values, **more)

    def test_it_reads_its_rows(self, bench: TaskBench) -> None:
        """All of them, and sets none aside."""
        rows = self.collect(bench).rows
        assert (rows.out, rows.quarantined) == (self.rows, 0)
        assert not rows.unexplained

    def test_what_has_not_changed_has_the_same_fingerprint(self, bench: TaskBench) -> None:
        """So that nothing after it is done again."""
        one, two = self.collect(bench), self.collect(bench)
        assert one.key != two.key
        assert one.output is not None
        assert two.output is not None
        assert one.output.fingerprint == two.output.fingerprint

    def test_it_says_what_it_read(self, bench: TaskBench) -> None:
        """As OpenLineage names it, without a password."""
        reads = self.collect(bench).lineage.reads
        assert reads
        assert all("://" in name and "@" not in name for name in reads)

    def test_an_unknown_option_is_refused(self) -> None:
        """With the plugin's name."""
        with pytest.raises(ConfigError, match=f"source '{self.plugin}' has no option 'colour'"):
            plugin("source", self.plugin).parse({**self.options, "colour": 1})

    def test_it_says_what_it_is(self) -> None:
        """One line, and a schema of its options."""
        info = plugin("source", self.plugin).info()
        assert info.description
        assert info.options["properties"]
