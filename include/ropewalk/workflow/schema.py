"""The JSON Schema of the whole language, from the installed plugins: for editors and for CI."""

from __future__ import annotations

from typing import Any

from ropewalk.contracts.plugins import STAGE_KIND, all_plugins
from ropewalk.workflow.model import Header

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
                "with": _defined(f"{kind}.{found.name}", found.info().options, definitions),
            },
        }
        for found in all_plugins(kind)
    ]
    return {"oneOf": choices}


def _list(kind: str, definitions: Schema) -> Schema:
    items: list[Schema] = []
    for found in all_plugins(kind):
        full = _defined(f"{kind}.{found.name}", found.info().options, definitions)
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


def _defined(name: str, schema: Schema, definitions: Schema) -> Schema:
    """A reference to a plugin's options, whose own definitions move beside it."""
    for inner, value in schema.pop("$defs", {}).items():
        definitions[inner] = value
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}
