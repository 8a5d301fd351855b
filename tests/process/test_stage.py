"""The stage as the kernel sees it."""

from __future__ import annotations

from ropewalk.contracts.plugins import plugin, plugin_names
from ropewalk.process.stage import STAGE


def test_it_describes_all_its_plugins() -> None:
    described = {(info.kind, info.name) for info in STAGE.describe().plugins}
    assert described == {("transform", name) for name in plugin_names("transform")} | {
        ("check", name) for name in plugin_names("check")
    }
    assert {"sql", "cast", "rename", "select", "filter", "fill", "deduplicate", "join", "aggregate", "python"} <= {
        name for kind, name in described if kind == "transform"
    }  # fmt: skip


def test_plugins_name_the_steps_that_they_read() -> None:
    sql, join, rename = (plugin("transform", name) for name in ("sql", "join", "rename"))
    assert sql.inputs(sql.parse("SELECT * FROM flights JOIN this ON true")) == ["flights"]
    assert join.inputs(join.parse({"input": "planes", "by": ["a"], "of": "flights"})) == [
        "flights",
        "planes",
    ]
    assert rename.inputs(rename.parse({"columns": {"a": "b"}})) == []
    check = plugin("check", "sql")
    assert check.inputs(check.parse("SELECT * FROM this ANTI JOIN flights USING (a)")) == [
        "flights"
    ]
    assert check.inputs(check.parse("a > 1")) == []
