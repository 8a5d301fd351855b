"""Least squares over batches: cross products of centred and scaled columns, so that any number of rows fits.

Centring and scaling first keeps the normal equations well conditioned (Golub & Van Loan, Matrix Computations,
5.3); the covariance is ``s² (X'X)⁻¹``, or HC1 (MacKinnon & White, 1985) for robust errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ropewalk.analyze.columns import (
    Frame,
    check_columns,
    is_number,
    need_numbers,
    numbers,
    only_input,
    rounded,
    trace,
)
from ropewalk.contracts.errors import DataError

if TYPE_CHECKING:
    from ropewalk.analyze.analyses.regression import Options
    from ropewalk.analyze.columns import Floats
    from ropewalk.kernel.task import Task

SAMPLE = 1_000_000  # residuals that are kept for their quantiles
SINGULAR = 1e-10
DEPENDENT = 1e-9  # of a feature's sum of squares: what is left of one that others make up
INTERCEPT = "intercept"
QUANTILES = ("min", "q1", "median", "q3", "max")
COLUMNS = ("term", "estimate", "std_error", "t", "p", "ci_low", "ci_high")


@dataclass
class Design:
    """The columns of the model: numbers as they are, a category as one column per level but its first."""

    target: str
    numeric: list[str]
    categories: dict[str, list[Any]]

    @property
    def terms(self) -> list[str]:
        """The names of the columns."""
        return self.numeric + [
            f"{n}={level}" for n, levels in self.categories.items() for level in levels[1:]
        ]

    def arrays(self, frame: Frame) -> Iterator[tuple[Floats, Floats]]:
        """The columns and the target, batch by batch."""
        for batch in frame.batches():
            columns = [numbers(batch.column(name)) for name in self.numeric]
            for name, levels in self.categories.items():
                values = np.asarray(batch.column(name).to_numpy(zero_copy_only=False))
                columns += [(values == level).astype(np.float64) for level in levels[1:]]
            rows = np.column_stack(columns) if columns else np.empty((batch.num_rows, 0))
            yield rows, numbers(batch.column(self.target))


@dataclass
class Moments:
    """Means, scales and cross products of all rows."""

    rows: int
    mean: Floats
    scale: Floats
    target: float
    xx: Floats
    xy: Floats
    yy: float


def regress(options: Options, task: Task) -> pa.Table:
    """The table of terms; the fit goes to the task's metrics."""
    source, dataset = only_input(task)
    names = [options.target, *options.features]
    check_columns(dataset, [options.target], option="target")
    check_columns(dataset, options.features, option="features")
    need_numbers(dataset, [options.target], option="target")
    whole = Frame(dataset, names)
    features = [name for name in options.features if not _left_out(task, whole, name)]
    frame = Frame(dataset, [options.target, *features])
    kinds = {name: dataset.schema.field(name).type for name in features}
    design = Design(
        options.target,
        [name for name in features if is_number(kinds[name])],
        {name: frame.levels(name) for name in features if not is_number(kinds[name])},
    )
    moments = _moments(design, frame, intercept=options.intercept)
    task.drop("missing value", frame.missing)
    kept, design = _without_idle(task, design, moments)
    trace(task, source, dict.fromkeys(COLUMNS, names))
    return _fit(options, task, design, frame, kept)


def _left_out(task: Task, frame: Frame, name: str) -> bool:
    if not frame.empty(name):
        return False
    task.warning(f"feature {name!r} is left out: it has no value in any row")
    task.note(f"feature {name} is left out: it has no value in any row")
    return True


def _moments(design: Design, frame: Frame, *, intercept: bool) -> Moments:
    """Two passes: means and scales, then the cross products of what is centred and scaled by them."""
    width = len(design.terms)
    rows, total, y_total, squares = 0, np.zeros(width), 0.0, np.zeros(width)
    for x, y in design.arrays(frame):
        rows += len(y)
        total += x.sum(axis=0)
        y_total += float(y.sum())
    if rows == 0:
        raise DataError("no row has a value in every column of the model", code="no_rows")
    mean = total / rows if intercept else np.zeros(width)
    target = y_total / rows if intercept else 0.0
    for x, _ in design.arrays(frame):
        squares += ((x - mean) ** 2).sum(axis=0)
    scale = np.sqrt(squares / rows)
    scale[scale <= SINGULAR * np.maximum(1.0, np.abs(mean))] = 0.0
    safe = np.where(scale > 0, scale, 1.0)
    xx, xy, yy = np.zeros((width, width)), np.zeros(width), 0.0
    for x, y in design.arrays(frame):
        z, w = (x - mean) / safe, y - target
        xx += z.T @ z
        xy += z.T @ w
        yy += float(w @ w)
    return Moments(rows, mean, scale, target, xx, xy, yy)


def _without_idle(task: Task, design: Design, moments: Moments) -> tuple[Moments, Design]:
    """The model without features that add nothing: one value in all rows, or what those before it say already."""
    idle = _idle(design.terms, moments)
    if not idle:
        return moments, design
    for name, why in idle.items():
        task.warning(f"feature {name!r} is left out: {why}")
        task.note(f"feature {name} is left out: {why}")
    keep = np.array([name not in idle for name in design.terms])
    left = Design(
        design.target,
        [name for name in design.numeric if name not in idle],
        {
            name: [levels[0], *(level for level in levels[1:] if f"{name}={level}" not in idle)]
            for name, levels in design.categories.items()
        },
    )
    return (
        Moments(
            moments.rows, moments.mean[keep], moments.scale[keep], moments.target,
            moments.xx[np.ix_(keep, keep)], moments.xy[keep], moments.yy,
        ),
        left,
    )  # fmt: skip


def _idle(terms: list[str], m: Moments) -> dict[str, str]:
    """The features that add nothing, and why: what is left of each after those before it (Gram and Schmidt)."""
    found: dict[str, str] = {}
    kept: list[int] = []
    for index, name in enumerate(terms):
        if m.scale[index] == 0:
            found[name] = "it has one value in all rows"
            continue
        own = m.xx[index, index]
        shared = m.xx[kept, index]
        left = own - shared @ np.linalg.solve(m.xx[np.ix_(kept, kept)], shared) if kept else own
        if left > DEPENDENT * own:
            kept.append(index)
        else:
            found[name] = "the features before it say the same"
    return found


def _fit(options: Options, task: Task, design: Design, frame: Frame, m: Moments) -> pa.Table:
    terms = list(design.terms)
    parameters = len(terms) + options.intercept
    freedom = m.rows - parameters
    if freedom <= 0:
        raise DataError(
            f"{m.rows} complete rows cannot tell {parameters} terms apart", code="too_few_rows"
        )
    inverse = _inverse(m.xx, terms)
    beta = inverse @ m.xy
    estimates = beta / m.scale
    intercept = m.target - float(m.mean @ estimates)
    left = _residuals(design, frame, m, beta, options)
    sigma2 = left.squares / freedom
    bread = _with_constant(inverse, m.rows) if options.intercept else inverse
    covariance = (
        bread * sigma2
        if options.errors == "classic"
        else bread @ left.meat @ bread * m.rows / freedom
    )
    if options.intercept:
        terms, estimates = [INTERCEPT, *terms], np.concatenate([[intercept], estimates])
    back = _back(m, intercept=options.intercept)
    errors = np.sqrt(np.diag(back @ covariance @ back.T))
    _tell_fit(options, task, m, len(design.terms), freedom, left)
    return _table(terms, estimates, errors, options.level, freedom)


def _with_constant(inverse: Floats, rows: int) -> Floats:
    """The inverse with a column of ones, to which centred columns are orthogonal."""
    width = len(inverse) + 1
    found = np.zeros((width, width))
    found[0, 0] = 1 / rows
    found[1:, 1:] = inverse
    return found


def _back(m: Moments, *, intercept: bool) -> Floats:
    """What takes estimates of centred and scaled columns back to those of the data."""
    slopes = np.diag(1 / m.scale)
    if not intercept:
        return slopes
    found = np.zeros((len(m.scale) + 1, len(m.scale) + 1))
    found[0, 0], found[0, 1:] = 1, -m.mean / m.scale
    found[1:, 1:] = slopes
    return found


def _inverse(xx: Floats, terms: list[str]) -> Floats:
    """The inverse of the cross products; DataError that names the columns where there is none."""
    if not terms:
        return xx
    values, vectors = np.linalg.eigh(xx)
    if values[0] <= SINGULAR * values[-1]:
        weights = np.abs(vectors[:, 0])
        guilty = [name for name, weight in zip(terms, weights, strict=True) if weight > 0.1]  # noqa: PLR2004
        raise DataError(
            f"these features say the same: {', '.join(guilty)}",
            code="collinear",
            hint="leave one of them out",
        )
    inverse: Floats = vectors @ np.diag(1 / values) @ vectors.T
    return inverse


@dataclass
class Residuals:
    """What the model leaves: the sum of squares, an even sample, and the middle of the robust covariance."""

    squares: float
    sample: Floats
    meat: Floats


def _residuals(
    design: Design, frame: Frame, m: Moments, beta: Floats, options: Options
) -> Residuals:
    step = max(1, m.rows // SAMPLE)
    width = len(beta) + options.intercept
    kept: list[Floats] = []
    total, meat = 0.0, np.zeros((width, width))
    for x, y in design.arrays(frame):
        z = (x - m.mean) / m.scale
        left = (y - m.target) - z @ beta
        total += float(left @ left)
        kept.append(left[::step])
        if options.errors == "robust":
            columns = np.column_stack([np.ones(len(y)), z]) if options.intercept else z
            meat += (columns * left[:, None] ** 2).T @ columns
    return Residuals(total, np.concatenate(kept), meat)


def _tell_fit(
    options: Options, task: Task, m: Moments, explained: int, freedom: int, left: Residuals
) -> None:
    """The fit of the whole model, as the task's metrics."""
    from scipy.special import fdtrc

    r2 = 1 - left.squares / m.yy if m.yy > 0 else 0.0
    f = (r2 / explained) / ((1 - r2) / freedom) if explained and r2 < 1 else None
    found: dict[str, Any] = {
        "rows": m.rows,
        "r2": r2,
        "adjusted_r2": 1 - (1 - r2) * (m.rows - options.intercept) / freedom,
        "sigma": float(np.sqrt(left.squares / freedom)),
        "f": f,
        "f_p": float(fdtrc(explained, freedom, f)) if f is not None else None,
    }
    quantiles = np.quantile(left.sample, [0, 0.25, 0.5, 0.75, 1])
    found |= {f"residual_{name}": float(q) for name, q in zip(QUANTILES, quantiles, strict=True)}
    for name, value in found.items():
        task.metric(name, value)


def _table(
    terms: list[str], estimates: Floats, errors: Floats, level: float, freedom: int
) -> pa.Table:
    from scipy.special import stdtr, stdtrit

    t = np.divide(estimates, errors, out=np.full_like(estimates, np.nan), where=errors > 0)
    half = float(stdtrit(freedom, 0.5 + level / 2)) * errors
    p = 2 * stdtr(freedom, -np.abs(t))
    columns = (estimates, errors, t, p, estimates - half, estimates + half)
    arrays = [pa.array(rounded(values), pa.float64(), from_pandas=True) for values in columns]
    return pa.table([pa.array(terms, pa.string()), *arrays], names=list(COLUMNS))
