"""The process stage: every transform is a query.

``do`` is a chain of transforms, done as one task and compiled to one query. A transform applies to the
relation at hand: at first the step's input (of several: the one that the chain's first ``sql`` names
first, else the only one that no ``join`` names), then what the transform before it has made;
``of: <input>`` names another. What a transform makes keeps the name of the input that it is made
from, so that a later ``sql`` reads the changed relation under the input's name; the result of a ``sql`` is
``this``. In SQL, inputs go by their steps' names, and ``this`` is what the transform before has made.

The two kinds of plugin, and what each function gives back (``ropewalk.process.relations``):

``transform(options, this: Relation, relations: Relations) -> exp.Query | Filtered | Result | Computed``
    A sqlglot query over ``this`` and what ``relations`` names; its module's ``CARDINALITY`` is
    ``1:1``, ``filter``, ``n:1``, ``join`` or (the default) ``any``.

``check(options, this: Relation, relations: Relations) -> Check``
    Rules that judge each row, the columns of a key, or a query that judges the whole result.

Rows that a check with ``on_fail: quarantine`` refuses are set aside first, each by the first check that it
fails; checks with ``fail`` and ``warn`` judge the rows that go on. A value that is null passes every
check but ``not_null``.

Types: timestamps are instants in UTC; DuckDB's 128-bit integers (what ``sum`` of integers gives) become
64-bit ones, with an error where a value does not fit; an ``avg`` is a double. Sums of floating-point numbers
do not depend on the order of the rows (``ropewalk.process.steady``); ``any_value``, ``first`` and a
``LIMIT`` without an ``ORDER BY`` are the user's to make so.
"""
