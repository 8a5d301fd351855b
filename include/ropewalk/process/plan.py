"""The plan of a process task, for people to read: the SQL that its chain of transforms compiles to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ropewalk.contracts.models import TaskRequest
from ropewalk.contracts.plugins import plugin
from ropewalk.contracts.template import render_options
from ropewalk.kernel.duck import duck_for_plans
from ropewalk.process.audit import audited
from ropewalk.process.chain import Call, Used, compiled, enter, output
from ropewalk.process.relations import DIALECT, Relations

if TYPE_CHECKING:
    import pyarrow as pa


def plan(request: TaskRequest, schemas: Mapping[str, pa.Schema]) -> str:
    """The SQL of a task whose inputs have these schemas, and its checks; ConfigError where it is wrong."""
    with duck_for_plans() as connection:
        relations = Relations(connection, request.values, request.origin)
        for name, schema in schemas.items():
            enter(relations, name, schema.empty_table())
        chain = compiled(
            relations, [_used(request, "transform", i) for i in range(len(request.do))]
        )
        result = chain.result
        parts = [_called(relations, call) for call in chain.calls]
        parts.append(relations.whole(output(result)).sql(DIALECT, pretty=True))
        checks = [_used(request, "check", i) for i in range(len(request.checks))]
        asked = audited(relations, result, checks, request.step).asked
        parts += [
            f"-- check {one.name} (on_fail: {one.on_fail}): {one.check.claim}" for one in asked
        ]
        parameters = [f"-- ${name} = {value!r}" for name, value in relations.parameters.items()]
        return "\n".join(parts + parameters) + "\n"


def _called(relations: Relations, call: Call) -> str:
    columns = ", ".join(f"{field.name} {field.type}" for field in call.schema)
    query = relations.whole(call.query).sql(DIALECT, pretty=True)
    return f"-- {call.name} is what a function makes of this: {columns}\n{query};\n"


def _used(request: TaskRequest, kind: str, index: int) -> Used:
    use = (request.do if kind == "transform" else request.checks)[index]
    found = plugin(kind, use.plugin)
    mapping = found.mapping(use.options)
    return found, found.parse(render_options(found.options, mapping, request.values))
