"""The picture of a run: its steps from left to right, the rows that went between them, and what lies outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.present.story import Story

WIDTH, HEIGHT = 186, 46  # of a box, in pixels
ACROSS, DOWN, MARGIN = 50, 16, 8
LETTERS = 22  # that a box has room for


@dataclass(frozen=True)
class Box:
    """A step, or a dataset outside; ``column`` counts from the left."""

    id: str
    label: str
    detail: str
    kind: str
    column: int
    row: float
    width = WIDTH
    height = HEIGHT

    @property
    def x(self) -> float:
        """Its left edge."""
        return MARGIN + self.column * (WIDTH + ACROSS)

    @property
    def y(self) -> float:
        """Its upper edge."""
        return MARGIN + self.row * (HEIGHT + DOWN)


@dataclass(frozen=True)
class Edge:
    """Rows that went from one box to another, as a curve."""

    path: str
    title: str


@dataclass(frozen=True)
class Graph:
    """Boxes and curves, and the size of the whole."""

    boxes: list[Box]
    edges: list[Edge]
    width: float
    height: float


def graph_of(story: Story) -> Graph:
    """The graph of a run."""
    links = _links(story)
    columns = _columns(links)
    labels = _labels(story)
    boxes = _place(columns, links, labels)
    edges = [_edge(boxes[source], boxes[target], rows) for (source, target), rows in links.items()]
    right = max((box.x for box in boxes.values()), default=0) + WIDTH + MARGIN
    below = max((box.y for box in boxes.values()), default=0) + HEIGHT + MARGIN
    return Graph(list(boxes.values()), edges, right, below)


def _links(story: Story) -> dict[tuple[str, str], int | None]:
    """Who gave rows to whom, and how many where that is known."""
    links: dict[tuple[str, str], int | None] = {}
    for step in story.steps:
        report = step.report
        links |= {(f"out:{name}", step.name): None for name in report.lineage.reads}
        links |= {(name, step.name): rows for name, rows in report.rows.inputs.items()}
        links |= {(step.name, f"out:{target.target}"): target.rows for target in report.published}
    return links


def _columns(links: Mapping[tuple[str, str], Any]) -> dict[str, int]:
    """How many links lie before each box, on the longest way to it."""
    before: dict[str, list[str]] = {}
    for source, target in links:
        before.setdefault(source, [])
        before.setdefault(target, []).append(source)
    found: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in found:
            found[name] = 0  # a file's workflow has no cycle
            found[name] = max((depth(source) + 1 for source in before[name]), default=0)
        return found[name]

    for name in before:
        depth(name)
    return found


def _labels(story: Story) -> dict[str, tuple[str, str, str]]:
    labels = {}
    for step in story.steps:
        report = step.report
        detail = f"{report.rows.out:,} rows" if report.output else ", ".join(report.plugins)
        labels[step.name] = (step.name, f"{report.stage} · {detail}", report.stage)
        for name in (*report.lineage.reads, *(target.target for target in report.published)):
            scheme, _, rest = name.partition("://")
            labels[f"out:{name}"] = (_outside(scheme, rest) or name, scheme, "outside")
    return labels


def _outside(scheme: str, rest: str) -> str:
    """A file by its name, a table by its schema's name and its own."""
    last = rest.rsplit("/", 1)[-1]
    return ".".join(last.split(".")[-2:]) if scheme.startswith("postgres") else last


def _place(
    columns: Mapping[str, int],
    links: Mapping[tuple[str, str], Any],
    labels: Mapping[str, tuple[str, str, str]],
) -> dict[str, Box]:
    """Put each box near the middle of those before it, none over another."""
    boxes: dict[str, Box] = {}
    most = max((list(columns.values()).count(c) for c in columns.values()), default=1)
    for column in sorted(set(columns.values())):
        names = [name for name in columns if columns[name] == column]
        wished = {name: _middle(name, boxes, links) for name in names}
        names.sort(key=lambda name: wished[name])
        start = (most - len(names)) / 2
        for index, name in enumerate(names):
            label, detail, kind = labels.get(name, (name, "", "outside"))
            boxes[name] = Box(name, _short(label), _short(detail, 27), kind, column, start + index)
    return boxes


def _middle(name: str, boxes: Mapping[str, Box], links: Mapping[tuple[str, str], Any]) -> float:
    rows = [boxes[source].row for source, target in links if target == name and source in boxes]
    return sum(rows) / len(rows) if rows else 0.0


def _edge(source: Box, target: Box, rows: int | None) -> Edge:
    x1, y1 = source.x + WIDTH, source.y + HEIGHT / 2
    x2, y2 = target.x, target.y + HEIGHT / 2
    bend = (x2 - x1) / 2
    path = (
        f"M{x1:.0f},{y1:.0f} C{x1 + bend:.0f},{y1:.0f} {x2 - bend:.0f},{y2:.0f} {x2:.0f},{y2:.0f}"
    )
    told = f": {rows:,} rows" if rows is not None else ""
    return Edge(path, f"{source.label} → {target.label}{told}")


def _short(text: str, most: int = LETTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
