"""`describe` and `correlation`, held against pandas and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.testing.analyses import AnalysisSuite
from ropewalk.testing.bench import TaskBench
from scipy import stats

RANDOM = np.random.default_rng(3)
FRAME = pd.DataFrame(
    {
        "n": RANDOM.integers(0, 50, 300),
        "x": np.where(RANDOM.random(300) < 0.1, np.nan, RANDOM.normal(5, 2, 300)),
        'odd "name"': RANDOM.normal(size=300),
        "word": RANDOM.choice(["a", "b", "b"], 300),
    }
)


class TestDescribe(AnalysisSuite):
    name = "describe"
    options = {}
    bad = {"columns": ["wrod"]}

    def table(self) -> pa.Table:
        return pa.Table.from_pandas(FRAME)

    def test_it_says_what_pandas_says(self, bench: TaskBench) -> None:
        found = bench.table(self.analyze(bench, self.table())).to_pandas().set_index("column")
        assert list(found.index) == list(FRAME.columns)
        assert found["rows"].tolist() == [300] * 4
        assert found["nulls"].tolist() == [int(count) for count in FRAME.isna().sum()]
        for name in ("n", "x", 'odd "name"'):
            column = FRAME[name].dropna()
            right = [column.mean(), column.std(), *column.quantile([0.25, 0.5, 0.75])]
            np.testing.assert_allclose(
                found.loc[name, ["mean", "std", "q1", "median", "q3"]].astype(float), right
            )
        assert found.loc["word", "top"] == "b"
        assert np.isnan(found.loc["word", "mean"])


class TestCorrelation(AnalysisSuite):
    name = "correlation"
    options = {"columns": ["n", "x", 'odd "name"']}
    bad = {"columns": ["n", "xx"]}

    def table(self) -> pa.Table:
        return pa.Table.from_pandas(FRAME)

    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    def test_it_says_what_pandas_says(self, bench: TaskBench, method: str) -> None:
        report = self.analyze(bench, self.table(), method=method)
        matrix = FRAME[["n", "x", 'odd "name"']].corr(method)  # type: ignore[arg-type]
        both = FRAME[["n", "x"]].dropna()
        for row in bench.table(report).to_pylist():
            assert row["r"] == pytest.approx(matrix.loc[row["a"], row["b"]])
            if {row["a"], row["b"]} == {"n", "x"}:
                test = stats.pearsonr if method == "pearson" else stats.spearmanr
                assert row["n"] == len(both)
                assert row["p"] == pytest.approx(test(both["n"], both["x"]).pvalue)

    def test_a_text_is_no_number(self, bench: TaskBench) -> None:
        with pytest.raises(ConfigError, match="column 'word' is (large_)?string, not a number"):
            self.analyze(bench, self.table(), columns=["n", "word"])
