"""The JSON Schema of the whole language, from the installed plugins: for editors and for CI."""

from __future__ import annotations

from typing import Any

from ropewalk.contracts.plugins import STAGE_KIND, Plugin, all_plugins
from ropewalk.contracts.template import code_fields, sql_fields
from ropewalk.workflow.model import Header

DEFINED = "#/$defs/"
TYPED = ("integer", "number", "boolean")
LATER = {"type": "string", "pattern": r"^\{\{.*\}\}$"}  # a value that is known when it runs
FILE = "beside the workflow, with the text of it"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def workflow_schema() -> Schema:
    """The schema of a workflow file."""
    schema = Header.model_json_schema()
    definitions: Schema = schema.setdefault("$defs", {})
    schema["properties"]["steps"] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"},
        "additionalProperties": {
            "oneOf": [*(_step(stage, definitions) for stage in STAGE_KIND), _own_step()]
        },
    }
    return {"$schema": DIALECT, **schema, "title": "Ropewalk workflow"}


def _common() -> Schema:
    """The keys that every step may have."""
    names = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    return {
        "from": names,
        "description": {"type": "string"},
        "timeout": {"type": ["string", "number"]},
        "max_quarantined": {"type": ["string", "integer"]},
    }


def _own_step() -> Schema:
    """A step of a stage that someone else wrote: one word more, and options that only that stage knows."""
    return {
        "type": "object",
        "not": {"anyOf": [{"required": [stage]} for stage in STAGE_KIND]},
        "properties": {**_common(), "with": {"type": "object"}},
        "additionalProperties": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
    }


def _step(stage: str, definitions: Schema) -> Schema:
    common = _common()
    kind = STAGE_KIND[stage]
    if stage == "process":
        common |= {stage: _list(kind, definitions), "checks": _list("check", definitions)}
        return {
            "type": "object",
            "required": [stage],
            "additionalProperties": False,
            "properties": common,
        }
    choices = [
        {
            "type": "object",
            "required": [stage],
            "additionalProperties": False,
            "properties": {
                **common,
                stage: {"const": found.name, "description": found.description},
                "with": _defined(found, kind, definitions),
            },
        }
        for found in all_plugins(kind)
    ]
    return {"oneOf": choices}


def _list(kind: str, definitions: Schema) -> Schema:
    items: list[Schema] = []
    for found in all_plugins(kind):
        full = _defined(found, kind, definitions)
        options: list[Schema] = [full]
        if found.options.shorthand:
            options.append({"not": {"type": "object"}})
        items.append(
            {
                "type": "object",
                "required": [found.name],
                "additionalProperties": False,
                "properties": {found.name: {"anyOf": options}},
                "description": found.description,
            }
        )
    return {
        "type": "array",
        "items": {"oneOf": items},
        **({"minItems": 1} if kind == "transform" else {}),
    }


def _defined(found: Plugin, kind: str, definitions: Schema) -> Schema:
    """A reference to a plugin's options, whose own definitions move beside it, under names of its own."""
    name, schema = f"{kind}.{found.name}", found.info().options
    inner = schema.pop("$defs", {})
    for part, value in inner.items():
        definitions[f"{name}.{part}"] = _moved(value, name)
    definitions[name] = _with_file(found, _moved(schema, name))
    return {"$ref": f"{DEFINED}{name}"}


def _moved(schema: Any, name: str) -> Any:
    """A schema whose references are to the definitions of that name, and whose values may be ``{{ … }}``."""
    if isinstance(schema, list):
        return [_moved(one, name) for one in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, name) for key, value in schema.items()}
    if isinstance(schema.get("$ref"), str):
        moved["$ref"] = f"{DEFINED}{name}.{schema['$ref'].removeprefix(DEFINED)}"
    return {"anyOf": [moved, LATER]} if schema.get("type") in TYPED else moved


def _with_file(found: Plugin, schema: Schema) -> Schema:
    """The options of a plugin whose code may stand in a file beside the workflow: ``sql: {file: sql/a.sql}``."""
    text = found.options.shorthand
    if text not in sql_fields(found.options) | code_fields(found.options):
        return schema
    properties = {**schema["properties"], "file": {"type": "string", "description": FILE}}
    required = [name for name in schema.get("required", ()) if name != text]
    one_of_both = {"anyOf": [{"required": [text]}, {"required": ["file"]}]}
    told = {"required": required, **one_of_both} if text in schema.get("required", ()) else {}
    return {**schema, "properties": properties, **told}
