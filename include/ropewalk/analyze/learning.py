"""Models of scikit-learn: trained on sorted rows, so that their order says nothing, and kept with skops (no pickle)."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.analyze.columns import Frame, check_columns, is_number, only_input, trace
from ropewalk.contracts.errors import ConfigError, DataError, FatalError, nearest

if TYPE_CHECKING:
    from ropewalk.analyze.analyses.predict import Options as Predict
    from ropewalk.analyze.analyses.train import Options as Train
    from ropewalk.kernel.task import Task

FEWEST = 10  # rows
EPOCH = (1980, 1, 1, 0, 0, 0)  # where an archive's time begins
MODEL = pa.schema(
    [
        ("estimator", pa.string()), ("target", pa.string()), ("features", pa.string()), ("rows", pa.int64()),
        ("training_fingerprint", pa.string()), ("metrics", pa.string()), ("model", pa.binary()),
    ]
)  # fmt: skip
TRUSTED = {
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
}
"""The classes beyond skops' own list that a model file may have; a file with any other is refused."""


def train(options: Train, task: Task) -> pa.Table:
    """The model as one row; its metrics on rows that it has not seen."""
    from sklearn.model_selection import train_test_split

    source, dataset = only_input(task)
    check_columns(dataset, [options.target], option="target")
    check_columns(dataset, options.features, option="features")
    frame = Frame(dataset, [options.target, *options.features])
    table = _sorted(_sampled(frame, options.max_rows))
    task.drop("missing value", frame.missing)
    if table.num_rows < FEWEST:
        raise DataError(
            f"{table.num_rows} complete rows are too few to learn from", code="too_few_rows"
        )
    x, y = table.select(options.features).to_pandas(), table[options.target].to_numpy()
    classes = options.estimator in {
        "logistic_regression",
        "random_forest_classifier",
        "gradient_boosting_classifier",
    }
    model = _pipeline(options, dataset.schema)
    x_fit, x_test, y_fit, y_test = train_test_split(
        x, y, test_size=options.test_size, random_state=options.seed
    )
    try:
        model.fit(x_fit, y_fit)
        metrics = (
            _class_metrics(model, x_test, y_test)
            if classes
            else _number_metrics(model, x_test, y_test)
        )
    except ValueError as error:
        raise DataError(
            f"{options.estimator} cannot learn this: {str(error).splitlines()[0]}", code="train"
        ) from None
    for name, value in metrics.items():
        task.metric(name, value)
    told = {name: task.metrics[name] for name in metrics}
    read = [options.target, *options.features]
    trace(task, source, dict.fromkeys(MODEL.names, read))
    row = {
        "estimator": options.estimator, "target": options.target, "features": json.dumps(options.features),
        "rows": table.num_rows, "training_fingerprint": dataset.ref.fingerprint, "metrics": json.dumps(told),
        "model": _dumped(model),
    }  # fmt: skip
    return pa.Table.from_pylist([row], schema=MODEL)


def predict(options: Predict, task: Task) -> pa.RecordBatchReader:
    """The rows with a prediction each; null where a feature has no value."""
    source, dataset = only_input(task, besides=options.model)
    task.accounts("1:1", of=source)
    (row,) = task.input(options.model).table().to_pylist()
    features = json.loads(row["features"])
    for name in features:
        if name not in dataset.schema.names:
            raise ConfigError(
                f"the model wants a column {name!r}, which the data lacks", code="unknown_column",
                hint=nearest(name, dataset.schema.names),
            )  # fmt: skip
    keep = options.keep if options.keep is not None else dataset.schema.names
    check_columns(dataset, keep, option="keep")
    model = _loaded(row["model"])
    kind = pa.float64() if hasattr(model, "predict") and not hasattr(model, "classes_") else None
    kind = kind or pa.array(model.classes_).type
    schema = pa.schema(
        [*(dataset.schema.field(name) for name in keep), pa.field(options.column, kind)]
    )
    lineage: dict[str, list[str]] = {name: [name] for name in keep}
    trace(task, source, {**lineage, options.column: features})

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in dataset.reader():
            found = _predicted(model, batch.select(features), kind)
            yield pa.RecordBatch.from_arrays([*batch.select(keep).columns, found], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _predicted(model: Any, features: pa.RecordBatch, kind: pa.DataType) -> pa.Array:
    whole = np.ones(features.num_rows, bool)
    for column in features.columns:
        whole &= np.asarray(pc.is_valid(column))
    found: np.ndarray[Any, Any] = np.full(features.num_rows, None, object)
    if whole.any():
        found[whole] = model.predict(features.filter(pa.array(whole)).to_pandas())
    return pa.array(found, kind, from_pandas=True)


def _sampled(frame: Frame, most: int) -> pa.Table:
    """The complete rows; an even sample where there are too many."""
    step = max(1, -(-frame.dataset.rows // most))
    taken = [batch.take(pa.array(np.arange(0, batch.num_rows, step))) for batch in frame.batches()]
    schema = pa.schema([frame.dataset.schema.field(name) for name in frame.names])
    return pa.Table.from_batches(taken, schema)


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in table.column_names])


def _pipeline(options: Train, schema: pa.Schema) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric = [name for name in options.features if is_number(schema.field(name).type)]
    texts = [name for name in options.features if name not in numeric]
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=10, sparse_output=False)
    columns = ColumnTransformer([("numeric", StandardScaler(), numeric), ("texts", encoder, texts)])
    return Pipeline([("columns", columns), ("model", _estimator(options))])


def _estimator(options: Train) -> Any:
    from sklearn import ensemble, linear_model

    classes: dict[str, Any] = {
        "linear_regression": linear_model.LinearRegression,
        "ridge": linear_model.Ridge,
        "random_forest_regressor": ensemble.RandomForestRegressor,
        "gradient_boosting_regressor": ensemble.HistGradientBoostingRegressor,
        "logistic_regression": linear_model.LogisticRegression,
        "random_forest_classifier": ensemble.RandomForestClassifier,
        "gradient_boosting_classifier": ensemble.HistGradientBoostingClassifier,
    }
    cls = classes[options.estimator]
    known = cls().get_params()
    for name in options.parameters:
        if name not in known:
            raise ConfigError(
                f"{options.estimator} has no parameter {name!r}",
                code="bad_option",
                field="parameters",
                hint=nearest(name, known),
            )
    fixed = {"random_state": options.seed} if "random_state" in known else {}
    return cls(**{**fixed, **options.parameters})


def _number_metrics(model: Any, x: Any, y: Any) -> dict[str, float | None]:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    guess = model.predict(x)
    return {
        "test_rows": len(y),
        "r2": float(r2_score(y, guess)) if len(y) > 1 else None,  # one row has no variance
        "mae": float(mean_absolute_error(y, guess)),
        "rmse": float(root_mean_squared_error(y, guess)),
    }


def _class_metrics(model: Any, x: Any, y: Any) -> dict[str, float | None]:
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    chances = model.predict_proba(x)
    found: dict[str, float | None] = {
        "test_rows": len(y),
        "accuracy": float(accuracy_score(y, model.predict(x))),
        "log_loss": float(log_loss(y, chances, labels=model.classes_)),
    }
    if len(model.classes_) == 2 and len(np.unique(y)) == 2:  # noqa: PLR2004 - a curve is of two classes
        found["roc_auc"] = float(roc_auc_score(y, chances[:, 1]))
    return found


def _dumped(model: Any) -> bytes:
    """The model's bytes, the same for the same model: skops writes the time and places in memory into its archive."""
    import skops.io as sio

    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(sio.dumps(model))) as archive,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as steady,
    ):
        schema = archive.read("schema.json").decode()
        places = dict.fromkeys(re.findall(r'"__id__": (\d+)', schema))
        numbers = {place: str(number) for number, place in enumerate(places, start=1)}

        def renamed(text: str) -> str:
            return re.sub(r"\d+", lambda match: numbers.get(match[0], match[0]), text)

        files = {renamed(name): archive.read(name) for name in archive.namelist()}
        files["schema.json"] = renamed(schema).encode()
        for name in sorted(files):
            steady.writestr(zipfile.ZipInfo(name, EPOCH), files[name])
    return made.getvalue()


def _loaded(data: bytes) -> Any:
    """The model of a file, unless it holds a class that no model of ours has."""
    import skops.io as sio

    strange = set(sio.get_untrusted_types(data=data)) - TRUSTED
    if strange:
        raise FatalError(
            f"the model holds what is not trusted: {', '.join(sorted(strange))}",
            code="untrusted_model",
        )
    return sio.loads(data, trusted=sorted(TRUSTED))
