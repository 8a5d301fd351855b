"""Reads one step of a file: its stage word, its plugins and their options, its inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Any

from ropewalk.contracts.durations import duration
from ropewalk.contracts.errors import ConfigError, RopewalkError, TextError, nearest
from ropewalk.contracts.models import Origin, Scalar, Use, Written
from ropewalk.contracts.places import place_in
from ropewalk.contracts.plugins import KINDS, STAGE_KIND, Plugin, plugin
from ropewalk.contracts.spacing import spaced
from ropewalk.contracts.template import code_fields, references, render_options, sql_fields
from ropewalk.workflow.model import STEP_KEYS, OwnStage, Step
from ropewalk.workflow.own import own_use
from ropewalk.workflow.text import Path, Text

STAGES = tuple(STAGE_KIND)
KEYS = STEP_KEYS
THIS = "this"
LIMIT = re.compile(r"\d+|(?:100(?:\.0+)?|\d{1,2}(?:\.\d+)?)\s*%")  # rows, or percent of them
Report = Callable[[Path, RopewalkError], None]


@dataclass(frozen=True)
class Read:
    """A plugin as a file uses it: its options as they are written, and read with sample values."""

    plugin: Plugin
    written: Mapping[str, Any]
    options: Any


@dataclass
class _Places:
    """Where the parts of a step stand, `Origin.places` and `Origin.texts` to be; and what stands there."""

    plugins: dict[str, tuple[int, int]] = field(default_factory=dict)
    texts: dict[str, Written] = field(default_factory=dict)
    reads: dict[str, Read] = field(default_factory=dict)


class StepReader:
    """Reads the steps of one file; what is wrong goes to ``report``, with its place."""

    def __init__(
        self,
        text: Text,
        folder: FilePath,
        values: Mapping[str, Scalar],
        report: Report,
        own: Mapping[str, OwnStage],
    ) -> None:
        self.text = text
        self.folder = folder
        self.values = values
        self.report = report
        self.own = own
        self.words = (*STAGES, *own)
        self.reads: dict[str, dict[str, Read]] = {}

    def read(self, name: str, body: Mapping[str, Any]) -> Step | None:
        """The step, or None where it is too wrong to be one."""
        path: Path = ("steps", name)
        word = self._stage_word(path, body)
        if word is None:
            return None
        self._known_keys(path, body, word)
        self._keys_that_mean_something(path, body, word)
        places = _Places()
        do, needs = self._plugins(path, body, word, places)
        if "checks" in body and word != "process":
            self.report(
                (*path, "checks"),
                ConfigError("checks stand after a process step only", code="checks"),
            )
        checks, checked = self._checks(path, body, places)
        self.reads[name] = places.reads
        named = self._from(path, body)
        return Step(
            name=name,
            stage=word,
            do=tuple(do),
            checks=tuple(checks),
            needs=tuple(dict.fromkeys([*named, *needs, *(one for one in checked if one != name)])),
            max_quarantined=self._limit(path, body),
            timeout=self._timeout(path, body),
            description=str(body.get("description") or ""),
            origin=Origin(file=self.text.file, places=places.plugins, texts=places.texts),
            connection=self.own[word].connection if word in self.own else None,
        )

    def _stage_word(self, path: Path, body: Mapping[str, Any]) -> str | None:
        words = [key for key in body if key in self.words]
        if len(words) == 1:
            return words[0]
        if len(words) > 1:
            self.report(
                (*path, words[1]),
                ConfigError(f"a step has one stage word, not {' and '.join(words)}"),
            )
            return None
        unknown = [key for key in body if key not in KEYS]
        words = list(self.words)
        hint = nearest(unknown[0], words) if unknown else f"write one of {', '.join(words)}"
        here = (*path, unknown[0]) if unknown else path
        self.report(
            here, ConfigError(f"step {path[-1]!r} has no stage word", code="no_stage", hint=hint)
        )
        return None

    def _known_keys(self, path: Path, body: Mapping[str, Any], word: str) -> None:
        for key in body:
            if key not in (*KEYS, word):
                hint = nearest(key, KEYS)
                error = ConfigError(f"a step has no key {key!r}", code="unknown_key", hint=hint)
                self.report((*path, key), error)

    def _keys_that_mean_something(self, path: Path, body: Mapping[str, Any], word: str) -> None:
        """Refuse what would be read and do nothing."""
        if path[-1] == THIS:
            told = (
                f"a step cannot be named {THIS!r}: in SQL it is the result of the transform before"
            )
            self.report(path, ConfigError(told, code="bad_name"))
        if word == "process" and "with" in body:
            error = ConfigError("each transform has its own options", hint="- filter: {where: …}")
            self.report((*path, "with"), error)
        if word == "collect" and body.get("from"):
            self.report((*path, "from"), ConfigError("a collect step reads no other step"))
        for key in ("description", "timeout", "max_quarantined", "from", word):
            if isinstance(body.get(key), str) and "{{" in body[key]:
                told = f"{key} cannot hang on a value: {{{{ … }}}} stands in options and in SQL"
                self.report((*path, key), ConfigError(told, code="reference"))

    def _plugins(
        self, path: Path, body: Mapping[str, Any], word: str, places: _Places
    ) -> tuple[list[Use], list[str]]:
        if word in self.own:
            return self._own(path, body, word, places), []
        if word != "process":
            options = body.get("with") or {}
            found = self._use(
                STAGE_KIND[word],
                (*path, word),
                body[word],
                (*path, "with"),
                options,
                places,
                "do/0",
            )
            return ([found[0]], found[1]) if found else ([], [])
        if not isinstance(body[word], list) or not body[word]:
            self.report(
                (*path, word),
                ConfigError("process is a list of transforms: - sql: SELECT …", code="process"),
            )
            return [], []
        return self._list("transform", (*path, word), body[word], places, "do")

    def _own(self, path: Path, body: Mapping[str, Any], word: str, places: _Places) -> list[Use]:
        """The plugin of a stage that someone else wrote."""
        places.plugins["do/0"] = self.text.places[(*path, word)]
        options = body.get("with") or {}
        try:
            self._known_references(options)
            return [own_use(self.own[word], self.folder, body[word], options, self.values)]
        except ConfigError as error:
            here = (*path, word) if error.field is None else self._at((*path, "with"), error.field)
            self.report(here, error)
            return []

    def _checks(
        self, path: Path, body: Mapping[str, Any], places: _Places
    ) -> tuple[list[Use], list[str]]:
        items = body.get("checks") or []
        if not isinstance(items, list):
            self.report(
                (*path, "checks"),
                ConfigError("checks is a list: - not_null: [a, b]", code="checks"),
            )
            return [], []
        return self._list("check", (*path, "checks"), items, places, "checks")

    def _list(
        self, kind: str, path: Path, items: list[Any], places: _Places, mark: str
    ) -> tuple[list[Use], list[str]]:
        uses: list[Use] = []
        needs: list[str] = []
        for index, item in enumerate(items):
            here = (*path, index)
            if isinstance(item, str):
                item = {item: None}  # noqa: PLW2901 - a plugin without options is its name alone
            if not isinstance(item, Mapping) or len(item) != 1:
                self.report(
                    here, ConfigError(f"a {kind} is one name with its options: - {kind}: {{…}}")
                )
                continue
            ((name, options),) = item.items()
            found = self._use(
                kind, (*here, name), name, (*here, name), options, places, f"{mark}/{index}"
            )
            if found:
                uses.append(found[0])
                needs += found[1]
        return uses, needs

    def _use(
        self,
        kind: str,
        name_path: Path,
        name: Any,
        path: Path,
        options: Any,
        places: _Places,
        mark: str,
    ) -> tuple[Use, list[str]] | None:
        """A plugin with its options, checked against its model; and the steps that they name."""
        places.plugins[mark] = self.text.places.get(path, self.text.places.get(name_path, (1, 1)))
        if not isinstance(name, str):
            self.report(name_path, ConfigError(f"a {kind} is named by a word, not {name!r}"))
            return None
        try:
            found = plugin(kind, name)
        except RopewalkError as error:
            self.report(name_path, error)
            return None
        try:
            mapping = found.mapping(options)
            texts = dict(self._texts(found, path, mapping))
            mapping = self._with_files(found, mapping, texts)
            code = code_fields(found.options)
            self._known_references({k: v for k, v in mapping.items() if k not in code})
            parsed = found.parse(render_options(found.options, mapping, self.values))
            needs = found.inputs(parsed)
        except ConfigError as error:
            self.report(self._at(path, error.field), _placed(error, texts))
            return None
        places.texts |= {f"{mark}/{name}": text for name, text in texts.items()}
        places.reads[mark] = Read(found, mapping, parsed)
        options = _canonical(found, kind, mapping)
        return Use(plugin=name, version=found.version, options=options), needs

    def _texts(
        self, found: Plugin, path: Path, mapping: Mapping[str, Any]
    ) -> Iterator[tuple[str, Written]]:
        """The code in the options as it stands in the file, by its option: ``query``, ``columns/mean``."""
        for name in sql_fields(found.options) & mapping.keys():
            value = mapping[name]
            inner = [(name, key) for key in value] if isinstance(value, Mapping) else [(name,)]
            for parts in inner:
                short = path if (*path, *parts) not in self.text.spans else (*path, *parts)
                written = self.text.written(short)
                if written is not None:
                    yield "/".join(parts), written

    def _with_files(
        self, found: Plugin, mapping: dict[str, Any], texts: dict[str, Written]
    ) -> dict[str, Any]:
        """Texts of code that stand in files beside the workflow: ``sql: {file: sql/a.sql}``."""
        name = found.options.shorthand
        if "file" not in mapping or "file" in found.options.model_fields or name is None:
            return mapping
        inside = (self.folder / str(mapping["file"])).resolve()
        if not inside.is_relative_to(self.folder.resolve()):
            raise ConfigError(
                f"the file {mapping['file']!r} lies outside of the workflow's folder", field="file"
            )
        if not inside.is_file():
            near = nearest(
                inside.name, (one.name for one in inside.parent.glob(f"*{inside.suffix}"))
            )
            raise ConfigError(
                f"there is no file {mapping['file']!r} beside the workflow", field="file", hint=near
            )
        try:
            text = inside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the file {mapping['file']!r} cannot be read: {error}", field="file"
            ) from None
        texts[name] = Written(file=str(mapping["file"]), line=1, column=1, text=text)
        return {**{key: value for key, value in mapping.items() if key != "file"}, name: text}

    def _known_references(self, mapping: Mapping[str, Any]) -> None:
        for name in references(mapping):
            if name not in self.values:
                raise ConfigError(
                    f"unknown value {{{{ {name} }}}}",
                    code="unknown_value",
                    hint=nearest(name, self.values),
                )

    def _at(self, path: Path, field: str | None) -> Path:
        """The place of an option that an error names."""
        parts = (
            tuple(int(part) if part.isdigit() else part for part in field.split("."))
            if field
            else ()
        )
        return (*path, *parts)

    def _from(self, path: Path, body: Mapping[str, Any]) -> Iterator[str]:
        value = body.get("from")
        names = [value] if isinstance(value, str) else value or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.report((*path, "from"), ConfigError("from is a step's name or a list of them"))
            return
        yield from names

    def _limit(self, path: Path, body: Mapping[str, Any]) -> str | None:
        value = body.get("max_quarantined")
        if value is None:
            return None
        text = str(value).strip()
        if isinstance(value, bool) or not LIMIT.fullmatch(text):
            error = ConfigError(
                f"max_quarantined is rows or percent, not {value!r}", hint="write 100 or 1%"
            )
            self.report((*path, "max_quarantined"), error)
        return text

    def _timeout(self, path: Path, body: Mapping[str, Any]) -> timedelta | None:
        if body.get("timeout") is None:
            return None
        try:
            found: timedelta = duration(body["timeout"])
        except ValueError as error:
            self.report((*path, "timeout"), ConfigError(str(error)))
            return None
        return found


def _placed(error: ConfigError, texts: Mapping[str, Written]) -> ConfigError:
    """The error with the place in the file of the code that it is about, where it is about code."""
    if not isinstance(error, TextError):
        return error
    for written in texts.values():
        at = place_in(written, error.text, error.offset)
        if at is not None:
            error.file, (error.line, error.column) = written.file, at
            error.detail = error.plain
    return error


def _canonical(found: Plugin, kind: str, mapping: dict[str, Any]) -> dict[str, Any]:
    """Options whose SQL is written in one way, so that white space is no reason to work again.

    That of transforms and checks is parsed; a source's is of a dialect that is not known here.
    """
    one_way = KINDS["transform"].compiled().canonical if kind in {"transform", "check"} else spaced
    marked = sql_fields(found.options) - code_fields(found.options)
    return {
        key: _each(value, one_way) if key in marked else value for key, value in mapping.items()
    }


def _each(value: Any, one_way: Callable[[str], str]) -> Any:
    """A text, or each text of a mapping, in one way; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: _each(inner, one_way) for key, inner in value.items()}
    return one_way(value) if isinstance(value, str) else value
