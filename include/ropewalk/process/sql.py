"""SQL that a user wrote: parsed, held to one SELECT that reads only the step's relations, and bound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.optimizer.scope import traverse_scope

from ropewalk.contracts.columns import fold
from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.template import REFERENCE, bind, references
from ropewalk.kernel.duck import BOUND_TYPES
from ropewalk.process.names import ALWAYS
from ropewalk.process.place import Place
from ropewalk.process.relations import DIALECT, Relation, Relations, Unlisted

WRITES = (exp.DML, exp.DDL, exp.Into, exp.Command, exp.Copy, exp.Drop, exp.Pragma, exp.Set)
TABLE_FUNCTIONS = (exp.Unnest, exp.GenerateSeries, exp.Values)
FICKLE = (exp.Rand, exp.Randn, exp.Uuid)
PARAMETER = re.compile(r"\$\w+")
REFUSED = frozenset(
    {"currval", "nextval", "getvariable", "current_setting", "setseed", "uuidv4", "uuidv7"}
    | {"getenv", "query", "query_table", "read_blob", "read_text", "glob"}
)


def select(text: str, relations: Relations) -> exp.Query:
    """A user's SELECT over the relations' names, its tables replaced by what they are at this moment."""
    relations.parameters |= bind(text, relations.values)[1]
    query = _query(text, relations.place)
    for cte in query.find_all(exp.CTE):
        if cte.alias.lower() in relations.ctes:
            raise relations.place.error_in(
                text, _start(cte.args["alias"]), f"the name {cte.alias!r} is taken by a transform",
                code="name_taken", hint="give the common table expression another name",
            )  # fmt: skip
    for table in list(_outside_tables(query)):
        _replace(table, text, relations)
    return query


def expression(text: str, relation: Relation, relations: Relations) -> exp.Condition:
    """A user's condition or value over one relation's columns."""
    relations.parameters |= bind(text, relations.values)[1]
    parsed = _parsed(text, relations.place)
    if not isinstance(parsed, exp.Condition) or parsed.find(exp.Query):
        raise relations.place.error_in(
            text, 0, "this is not one expression", code="not_an_expression",
            hint="write a condition over the columns; for a SELECT use the transform sql",
        )  # fmt: skip
    _refuse(parsed, text, relations.place)
    holder = exp.Paren(this=parsed)
    for column in list(parsed.find_all(exp.Column)):
        _own(column, relation, text, relations)
    inner: exp.Condition = holder.this
    return inner


@lru_cache(maxsize=1000)
def tables(text: str) -> tuple[str, ...]:
    """The inputs that a user's SELECT reads, in the order of its text; ConfigError where it is not allowed."""
    found = sorted(_outside_tables(_held(text)), key=lambda table: _start(table) or 0)
    return tuple(name for name in dict.fromkeys(table.name for table in found) if name != "this")


@lru_cache(maxsize=1000)
def canonical(text: str) -> str:
    """SQL without what does not change its meaning: white space, comments, the case of keywords."""
    try:
        (tree,) = _trees(_placed(text))
    except (ConfigError, ParseError, TokenError, ValueError):
        return text
    names = {_parameter(match): match[1] for match in REFERENCE.finditer(text)}
    found = {f"${node.name}" for node in tree.find_all(exp.Placeholder)}
    hidden = names.keys() - found  # inside quotes, where they are refused with their place
    if hidden or any(name in text for name in names):
        return text
    if not isinstance(tree, exp.Query | exp.Condition):
        return text
    written = tree.sql(DIALECT, comments=False)
    return PARAMETER.sub(lambda match: _reference(match, names), written)


def _reference(match: re.Match[str], names: Mapping[str, str]) -> str:
    return f"{{{{ {names[match[0]]} }}}}" if match[0] in names else match[0]


def looks_like_select(text: str) -> bool:
    """Whether a text begins as a query does."""
    words = text.strip().lstrip("(").split(maxsplit=1)
    return bool(words) and words[0].upper() in {"SELECT", "WITH", "FROM"}


def _query(text: str, place: Place) -> exp.Query:
    """A user's SELECT, checked; an error has its place."""
    try:
        return _held(text).copy()
    except ConfigError:
        return _checked(text, place)


@lru_cache(maxsize=1000)
def _held(text: str) -> exp.Query:
    """A SELECT that has been checked; whoever changes it changes a copy."""
    return _checked(text, Place())


def _checked(text: str, place: Place) -> exp.Query:
    query = _parsed(text, place)
    if not isinstance(query, exp.Query) or isinstance(query, exp.Values):
        raise place.error_in(
            text, 0, "this is not a SELECT", code="not_a_select", hint="write one SELECT"
        )
    _refuse(query, text, place)
    _spell_alike(query)
    return query


def _spell_alike(query: exp.Query) -> None:
    """Write each name of a common table expression as it is defined: sqlglot minds the case, DuckDB does not."""
    defined = {fold(cte.alias): cte.alias for cte in query.find_all(exp.CTE)}
    for table in query.find_all(exp.Table) if defined else ():
        name = defined.get(fold(table.name), table.name)
        if name != table.name and not table.args.get("db"):
            table.this.set("this", name)


def _parsed(text: str, place: Place) -> exp.Expr:
    placed = _placed(text)
    try:
        statements = _trees(placed)
    except ParseError as error:
        raise _not_sql(error, text, placed, place) from None
    except TokenError as error:
        said = str(error).splitlines()[0]
        raise place.error_in(text, 0, f"this is not SQL: {said}", code="sql_syntax") from None
    if len(statements) != 1 or isinstance(statements[0], exp.Block):
        raise place.error_in(
            text, 0, "this is not one statement", code="not_a_select", hint="write one SELECT"
        )
    return _typed(statements[0].copy(), text, place)


@lru_cache(maxsize=1000)
def _trees(text: str) -> tuple[exp.Expr, ...]:
    """The statements of a text; whoever changes one changes a copy."""
    return tuple(one for one in sqlglot.parse(text, dialect=DIALECT) if one is not None)


def _not_sql(error: ParseError, text: str, placed: str, place: Place) -> ConfigError:
    first = error.errors[0] if error.errors else {}
    word = str(first.get("highlight") or "")
    said = str(first.get("description") or error).rstrip(".")
    if said.startswith("Required keyword"):  # told in the parser's own terms
        said = "something is missing"
    near = f" near {word!r}" if word else ""
    offset = _offset(placed, first.get("line"), first.get("col"), word)
    return place.error_in(text, offset, f"this is not SQL: {said}{near}", code="sql_syntax")


def _placed(text: str) -> str:
    """The text with each reference as a parameter that takes as many characters: no place in it moves."""
    list(references(text))
    return REFERENCE.sub(lambda match: _parameter(match).ljust(len(match[0])), text)


def _parameter(match: re.Match[str]) -> str:
    return "$" + match[1].replace(".", "_")


def _typed(parsed: exp.Expr, text: str, place: Place) -> exp.Expr:
    """The partition's bounds as instants; only parameters that are bound, and all of them outside quotes."""
    found = list(parsed.find_all(exp.Placeholder))
    bound = {_parameter(match)[1:]: match.start() for match in REFERENCE.finditer(text)}
    for node in found:
        if node.name not in bound:
            raise place.error(
                f"the SQL has a parameter {node.sql(DIALECT)} of its own",
                code="parameter",
                hint="write {{ params.name }}",
            )
    for name in bound.keys() - {node.name for node in found}:
        raise place.error_in(
            text, bound[name], "a {{ … }} stands inside quotes or a comment",
            code="quoted_reference", hint="write it without quotes: it is bound as a value",
        )  # fmt: skip
    holder = exp.Tuple(expressions=[parsed])
    for node in found:
        if node.name in BOUND_TYPES:
            node.replace(exp.cast(node.copy(), BOUND_TYPES[node.name], dialect=DIALECT))
    whole: exp.Expr = holder.expressions[0]
    return whole.pop()


def _refuse(parsed: exp.Expr, text: str, place: Place) -> None:
    """Refuse what writes, what reads other things than the step's relations, and what is different each time."""
    for node in parsed.walk():
        if isinstance(node, WRITES):
            raise place.error_in(
                text, _start(node), f"{node.key.upper()} is not allowed", code="not_a_select",
                hint="a transform only reads: write one SELECT",
            )  # fmt: skip
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Func):
            _refuse_table_function(node, text, place)
        if isinstance(node, FICKLE) or (
            isinstance(node, exp.Func) and _function_name(node) in REFUSED
        ):
            raise place.error_in(
                text, _start(node), f"the function {_function_name(node)} is not allowed",
                code="forbidden_function", hint="a step's result must follow from its inputs alone",
            )  # fmt: skip


def _refuse_table_function(node: exp.Table, text: str, place: Place) -> None:
    if not isinstance(node.this, TABLE_FUNCTIONS):
        raise place.error_in(
            text, _start(node), f"the function {_function_name(node.this)} is not allowed",
            code="forbidden_function",
            hint="SQL reads the step's inputs; files and databases are read by a collect step",
        )  # fmt: skip


def _function_name(node: exp.Expr) -> str:
    return node.sql(DIALECT).partition("(")[0].strip().lower()


def _outside_tables(query: exp.Query) -> Iterator[exp.Table]:
    """Every table that is not one of the query's own common table expressions."""
    seen: set[int] = set()
    for scope in traverse_scope(query):
        for source in scope.sources.values():
            if not isinstance(source, exp.Table) or id(source) in seen:
                continue
            seen.add(id(source))
            if isinstance(source.this, exp.Identifier):
                yield source


def _replace(table: exp.Table, text: str, relations: Relations) -> None:
    known = relations.known()
    name = table.name if table.name in known else table.name.lower()
    if name not in known or table.args.get("db"):
        written = ".".join(part.name for part in table.parts)
        raise relations.place.error_in(
            text, _start(table), f"there is no input {written!r}", code="unknown_table",
            hint=nearest(written, known),
        )  # fmt: skip
    target = known[name].name
    if target != table.name:
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        identifier = exp.to_identifier(target, quoted=True)
        identifier.meta.update(table.this.meta)
        table.set("this", identifier)


def _own(column: exp.Column, relation: Relation, text: str, relations: Relations) -> None:
    """Hold a column to be the relation's own, and write it as the relation spells it."""
    if column.table.lower() in {relation.label, relation.name, "this"}:
        column.set("table", None)
    first = column.parts[0]  # of a.b where a is a struct: a
    if isinstance(relation.columns, Unlisted) or fold(first.name) in ALWAYS:
        return
    found = relation.find(first.name)
    if found is None:
        relations.missed((relation.label,), first.name)
        raise relations.place.error_in(
            text, _start(first), f"{relation.label} has no column {first.name!r}",
            code="unknown_column", hint=nearest(first.name, relation.columns),
        )  # fmt: skip
    first.replace(exp.to_identifier(found, quoted=True))


def _start(node: exp.Expr) -> int | None:
    """Where in the text a node begins, as far as it knows."""
    return min((part.meta["start"] for part in node.walk() if "start" in part.meta), default=None)


def _offset(text: str, line: Any, end: Any, word: str) -> int:
    """The offset of a token that ends at a line and column, both from 1."""
    if not isinstance(line, int) or not isinstance(end, int):
        return 0
    begin = sum(len(one) for one in text.splitlines(keepends=True)[: line - 1])
    return max(0, begin + end - len(word))
