"""A step of a stage that someone else wrote: its options are checked where the stage's description is at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.models import Description, PluginInfo, Use
from ropewalk.contracts.template import references, render
from ropewalk.workflow.model import OwnStage

WORD = re.compile(r"[a-z][a-z0-9_]{0,62}")


def own_use(
    stage: OwnStage, folder: Path, name: Any, options: Any, values: Mapping[str, Any]
) -> Use:
    """What the stage is asked to do; ConfigError where that is no plugin of its description, if there is one."""
    if not isinstance(name, str) or not WORD.fullmatch(name):
        raise ConfigError(f"a plugin is named by a word, not {name!r}", code="bad_name")
    if not isinstance(options, Mapping):
        raise ConfigError("with holds options by name", code="bad_option", field="")
    if stage.describe is None:
        return Use(plugin=name, version="", options=dict(options))
    info = _plugin(_description(stage.describe, folder), name)
    _check(info, options, values)
    return Use(plugin=name, version=info.version, options=dict(options))


def _description(file: str, folder: Path) -> Description:
    """What a file beside the workflow says that the stage can do."""
    inside = (folder / file).resolve()
    if not inside.is_relative_to(folder.resolve()):
        raise ConfigError(f"the file {file!r} lies outside of the workflow's folder", code="file")
    try:
        return Description.model_validate_json(inside.read_bytes())
    except (OSError, ValidationError) as error:
        said = str(error).splitlines()[0]
        raise ConfigError(
            f"{file!r} is no description of a stage: {said}",
            code="describe",
            hint="save what the stage answers to GET /v1/describe",
        ) from None


def _plugin(description: Description, name: str) -> PluginInfo:
    known = {one.name: one for one in description.plugins}
    if name not in known:
        hint = nearest(name, known)
        raise ConfigError(
            f"stage {description.stage!r} has no plugin {name!r}", code="unknown_plugin", hint=hint
        )
    return known[name]


def _check(info: PluginInfo, options: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Hold options to a plugin's JSON Schema; one that hangs on a run's values is the stage's to judge."""
    from jsonschema import Draft202012Validator

    rendered = render(options, values)
    errors = Draft202012Validator(info.options).iter_errors(rendered)
    for error in sorted(errors, key=lambda one: one.validator != "additionalProperties"):
        field = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            raise _unknown(info, error, field)
        if next(references(_at(options, list(error.absolute_path))), None) is None:
            raise ConfigError(
                f"{info.kind} {info.name!r}: {error.message}", code="bad_option", field=field
            )


def _unknown(info: PluginInfo, error: Any, field: str) -> ConfigError:
    known = error.schema.get("properties", {})
    name = next(one for one in error.instance if one not in known)
    return ConfigError(
        f"{info.kind} {info.name!r} has no option {name!r}",
        code="unknown_option",
        field=f"{field}.{name}" if field else name,
        hint=nearest(name, known),
    )


def _at(value: Any, path: list[Any]) -> Any:
    for part in path:
        value = value[part]
    return value
