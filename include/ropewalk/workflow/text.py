"""YAML with positions: every value of a file, and the line and column where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Written

Path = tuple[str | int, ...]
MAX_BYTES = 1_000_000
FAST_BYTES = 16_384  # whatever they hold, libyaml has the stack for it
MAX_NODES = 20_000  # aliases counted as often as they are used
MAX_DEPTH = 40
MERGE = "tag:yaml.org,2002:merge"


@dataclass
class Text:
    """A file's values, and the place of each by its path: ``places[("steps", "a")] == (4, 3)``.

    ``spans`` are where the source has each word or text, from one character to before another.
    """

    file: str
    source: str = ""
    value: Any = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    spans: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def error(self, path: Path, detail: str, **more: Any) -> ConfigError:
        """An error at a value, or at the nearest one around it that stands in the file."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = self.places.get(path, (1, 1))
        return ConfigError(detail, file=self.file, line=line, column=column, **more)

    def written(self, path: Path) -> Written | None:
        """A text as it stands in the file."""
        if path not in self.spans:
            return None
        start, end = self.spans[path]
        line = self.source.count("\n", 0, start) + 1
        column = start - self.source.rfind("\n", 0, start)
        return Written(file=self.file, line=line, column=column, text=self.source[start:end])

    def find(self, path: Path, word: str) -> Path:
        """Where a word stands as a value or a key, at a path or somewhere in it; the path, where it does not."""
        inside = (one for one in self.places if one[: len(path)] == path)
        return next((one for one in inside if self._is(one, word)), path)

    def _is(self, path: Path, word: str) -> bool:
        if path and path[-1] == word:
            return True
        start, end = self.spans.get(path, (0, 0))
        return self.source[start:end].strip("'\"") == word


def read(file: str, text: str) -> Text:
    """The values of a YAML text; ConfigError where it is not one that a workflow may be."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"a workflow file may have {MAX_BYTES} characters", file=file)
    try:
        node = yaml.compose(text, Loader=_Fast if len(text) <= FAST_BYTES else _Loader)
    except yaml.MarkedYAMLError as error:
        raise _syntax(file, text, error) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"this is not YAML: {error}", file=file, line=1) from None
    found = Text(file, text)
    if node is not None:
        found.value = _Builder(found).build(node, ())
    return found


class _Loader(yaml.SafeLoader):
    """YAML as its readers think of it: ``no`` is a word, ``2013-01-01`` a text, ``010`` a text too."""


class _Fast(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, in a seventh of the time; what nests too deep crashes it."""


_Loader.yaml_implicit_resolvers = _Fast.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(?:true|True|false|False)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", "-+0123456789"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


class _Builder:
    """Makes values of nodes, and notes where each stands."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        """The value of a node and all in it."""
        self.nodes += 1
        self.text.places.setdefault(path, _place(node))
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self.text.error(
                path, "the file is too large: its aliases explode, or it nests too deep"
            )
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            here = (*path, name)
            if key.tag == MERGE or not isinstance(key, yaml.ScalarNode):
                self.text.places[here] = _place(key)
                braces = isinstance(key, yaml.MappingNode)  # {{ … }} is a mapping in a mapping
                raise self.text.error(
                    here,
                    "merge keys and keys that are not words are not allowed",
                    hint='write "{{ … }}" in quotes' if braces else None,
                )
            if name in seen:
                self.text.places[here] = _place(key)
                raise self.text.error(
                    here,
                    f"{name!r} is there twice: it stands on line {seen[name]} already",
                    code="duplicate_key",
                )
            seen[name] = _place(key)[0]
            self.text.places[here] = (
                _place(value) if isinstance(value, yaml.ScalarNode) and value.value else _place(key)
            )
            yield name, self.build(value, here)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str":
            if "\0" in node.value:
                raise self.text.error(path, "a text may have no NUL character in it")
            self.text.spans.setdefault(path, (node.start_mark.index, node.end_mark.index))
            return str(node.value)
        if kind in {"bool", "null"}:
            return {"t": True, "f": False}.get(str(node.value)[:1].lower())
        if kind in {"int", "float"}:
            return int(node.value) if kind == "int" else float(node.value)
        raise self.text.error(path, f"the tag {node.tag!r} is not allowed")


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _syntax(file: str, text: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    detail = "this is not YAML: " + " ".join(
        part for part in (error.problem, error.context) if part
    )
    hint = "indent with spaces, not with tabs" if tab else None
    return ConfigError(detail, code="syntax", hint=hint, file=file, line=line, column=column)
