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
        "additionalProperties": {"oneOf": [_step(stage, definitions) for stage in STAGE_KIND]},
    }
    return {"$schema": DIALECT, **schema, "title": "Ropewalk workflow"}


def _step(stage: str, definitions: Schema) -> Schema:
    names = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    common: Schema = {
        "from": names,
        "description": {"type": "string"},
        "timeout": {"type": ["string", "number"]},
        "max_quarantined": {"type": ["string", "integer"]},
    }
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
