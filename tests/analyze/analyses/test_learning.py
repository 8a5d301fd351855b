"""`train` and `predict`: a model that is a dataset, and what it says of rows that it has not seen."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from ropewalk.contracts.errors import ConfigError, DataError, FatalError
from ropewalk.testing.analyses import AnalysisSuite
from ropewalk.testing.bench import TaskBench

from tests.analyze.analyses.test_regression import sample


class TestTrain(AnalysisSuite):
    name = "train"
    options = {
        "target": "delay",
        "features": ["distance", "wind", "origin"],
        "estimator": "linear_regression",
    }
    bad = {"features": ["wnid"]}

    def table(self) -> pa.Table:
        return pa.Table.from_pandas(sample())

    @pytest.mark.parametrize(
        "estimator",
        ["linear_regression", "ridge", "random_forest_regressor", "gradient_boosting_regressor"],
    )
    def test_every_estimator_learns_and_is_read_back(
        self, bench: TaskBench, estimator: str
    ) -> None:
        parameters = {"n_estimators": 5} if "forest" in estimator else {}
        ref = bench.dataset("rows", self.table())
        do = [("train", {**self.options, "estimator": estimator, "parameters": parameters})]
        trained = bench.run("analyze", do, inputs={"rows": ref})
        (row,) = bench.table(trained).to_pylist()
        assert row["training_fingerprint"] == ref.fingerprint
        assert json.loads(row["metrics"]) == trained.metrics
        assert set(trained.metrics) >= {"r2", "rmse"}
        found = bench.run(
            "analyze",
            [("predict", {"model": "model", "keep": ["delay"]})],
            inputs={"rows": ref, "model": trained.output},
        )
        table = bench.table(found)
        assert table.column_names == ["delay", "prediction"]
        assert np.corrcoef(table["delay"], table["prediction"])[0, 1] > 0.1

    def test_what_one_row_cannot_tell_is_none(self, bench: TaskBench) -> None:
        """Of a single row there is no r2: scikit-learn says NaN."""
        ref = bench.dataset("rows", self.table().slice(0, 10))
        do = [("train", {**self.options, "features": ["distance"], "test_size": 0.05})]
        trained = bench.run("analyze", do, inputs={"rows": ref})
        assert (trained.metrics["test_rows"], trained.metrics["r2"]) == (1, None)
        (row,) = bench.table(trained).to_pylist()
        assert json.loads(row["metrics"]) == trained.metrics

    def test_a_classifier(self, bench: TaskBench) -> None:
        frame = sample()
        frame["late"] = np.where(frame["delay"] > 15, "late", "on time")
        table = pa.Table.from_pandas(frame)
        options = {
            "target": "late",
            "features": ["distance", "wind"],
            "estimator": "logistic_regression",
        }
        trained = self.analyze(bench, table, **options)
        assert "accuracy" in trained.metrics
        found = bench.run(
            "analyze",
            [("predict", {"model": "model"})],
            inputs={"rows": table, "model": trained.output},
        )
        assert set(bench.table(found)["prediction"].to_pylist()) <= {"late", "on time"}

    def test_rows_that_lack_a_feature_have_no_prediction(self, bench: TaskBench) -> None:
        trained = self.analyze(bench, self.table(), features=["wind"])
        rows = pa.table({"wind": [1.0, None, 3.0]})
        found = bench.run(
            "analyze",
            [("predict", {"model": "model"})],
            inputs={"rows": rows, "model": trained.output},
        )
        assert [value is None for value in bench.table(found)["prediction"].to_pylist()] == [
            False,
            True,
            False,
        ]

    def test_a_column_that_the_model_wants(self, bench: TaskBench) -> None:
        trained = self.analyze(bench, self.table(), features=["wind"])
        with pytest.raises(
            ConfigError, match="the model wants a column 'wind', which the data lacks"
        ):
            bench.run(
                "analyze",
                [("predict", {"model": "model"})],
                inputs={"rows": pa.table({"wnid": [1.0]}), "model": trained.output},
            )

    def test_bytes_that_are_no_model_run_nothing(self, bench: TaskBench) -> None:
        trained = self.analyze(bench, self.table(), features=["wind"])
        table = bench.table(trained)
        evil = table.set_column(6, "model", pa.array([b"cos\nsystem\n(S'true'\ntR."]))
        with pytest.raises((DataError, FatalError)):
            bench.run(
                "analyze",
                [("predict", {"model": "model"})],
                inputs={"rows": pa.table({"wind": [1.0]}), "model": evil},
            )
