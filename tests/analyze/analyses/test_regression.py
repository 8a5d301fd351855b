"""Linear regression, held against statsmodels."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.formula.api as smf
from hypothesis import strategies as st
from ropewalk.contracts.errors import ConfigError, DataError
from ropewalk.testing.analyses import AnalysisSuite
from ropewalk.testing.bench import TaskBench


def sample(rows: int = 400, seed: int = 7) -> pd.DataFrame:
    """Delays that hang on the distance, the wind and the airport, and on luck."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "distance": random.integers(100, 3000, rows),
            "wind": random.normal(10, 4, rows),
            "origin": random.choice(["EWR", "JFK", "LGA"], rows),
        }
    )
    luck = random.normal(0, 12, rows) * (1 + frame["wind"].abs() / 10)
    frame["delay"] = (
        3 + 0.004 * frame["distance"] + 0.9 * frame["wind"] + 5 * (frame["origin"] == "JFK") + luck
    )
    return frame


class TestRegression(AnalysisSuite):
    name = "regression"
    options = {"target": "delay", "features": ["distance", "wind", "origin"]}
    bad = {"features": ["distanse"]}

    def table(self) -> pa.Table:
        return pa.Table.from_pandas(sample())

    def terms(self, bench: TaskBench, table: pa.Table, **options: Any) -> pd.DataFrame:
        """The terms of the model."""
        report = self.analyze(bench, table, **options)
        self.report = report
        found: pd.DataFrame = bench.table(report).to_pandas().set_index("term")
        return found

    @pytest.mark.parametrize(("errors", "kind"), [("classic", "nonrobust"), ("robust", "HC1")])
    def test_it_says_what_statsmodels_says(self, bench: TaskBench, errors: str, kind: str) -> None:
        found = self.terms(bench, self.table(), errors=errors, level=0.9)
        fit = smf.ols("delay ~ distance + wind + C(origin)", sample()).fit(
            cov_type=kind, use_t=True
        )
        names = {
            "Intercept": "intercept",
            "C(origin)[T.JFK]": "origin=JFK",
            "C(origin)[T.LGA]": "origin=LGA",
        }
        low, high = (fit.conf_int(0.1)[i].rename(names) for i in (0, 1))
        for column, wanted in (
            ("estimate", fit.params), ("std_error", fit.bse), ("t", fit.tvalues), ("p", fit.pvalues),
            ("ci_low", low), ("ci_high", high),
        ):  # fmt: skip
            right = wanted.rename(names)[found.index]
            np.testing.assert_allclose(found[column], right, rtol=1e-7, atol=1e-12)
        assert self.report.metrics["r2"] == pytest.approx(fit.rsquared)
        assert self.report.metrics["adjusted_r2"] == pytest.approx(fit.rsquared_adj)
        middle = np.quantile(fit.resid, [0, 0.25, 0.5, 0.75, 1])
        told = [self.report.metrics[f"residual_{n}"] for n in ("min", "q1", "median", "q3", "max")]
        assert told == pytest.approx(middle.tolist())
        if errors == "classic":
            assert self.report.metrics["f"] == pytest.approx(fit.fvalue)
            assert self.report.metrics["f_p"] == pytest.approx(fit.f_pvalue, rel=1e-5)

    def test_without_an_intercept(self, bench: TaskBench) -> None:
        found = self.terms(bench, self.table(), features=["distance", "wind"], intercept=False)
        fit = smf.ols("delay ~ distance + wind - 1", sample()).fit()
        np.testing.assert_allclose(found["estimate"], fit.params[found.index], rtol=1e-7)
        np.testing.assert_allclose(found["std_error"], fit.bse[found.index], rtol=1e-7)

    def test_features_that_add_nothing_are_left_out_and_told(self, bench: TaskBench) -> None:
        frame = sample()
        frame["km"] = frame["distance"] * 1.609
        frame["both"] = frame["distance"] + frame["wind"]
        frame["year"] = 2013
        frame["empty"] = np.nan
        table = pa.Table.from_pandas(frame)
        found = self.terms(
            bench, table, features=["distance", "wind", "km", "both", "year", "empty"]
        )
        assert list(found.index) == ["intercept", "distance", "wind"]
        assert self.report.notes == [
            "feature empty is left out: it has no value in any row",
            "feature km is left out: the features before it say the same",
            "feature both is left out: the features before it say the same",
            "feature year is left out: it has one value in all rows",
        ]
        alone = self.terms(bench, table, features=["distance", "wind"])
        pd.testing.assert_frame_equal(found, alone)

    def test_rows_that_lack_a_value_are_counted(self, bench: TaskBench) -> None:
        frame = sample()
        frame.loc[:9, "wind"] = np.nan
        frame.loc[5:19, "delay"] = np.nan
        self.terms(bench, pa.Table.from_pandas(frame))
        assert self.report.rows.dropped == {"missing value": 20}
        assert self.report.metrics["rows"] == 380

    def test_too_few_rows_are_told(self, bench: TaskBench) -> None:
        with pytest.raises(DataError, match="3 complete rows cannot tell 3 terms apart"):
            self.terms(bench, self.table().slice(0, 3), features=["distance", "wind"])

    def test_a_target_that_is_no_number(self, bench: TaskBench) -> None:
        with pytest.raises(
            ConfigError, match="target: column 'origin' is (large_)?string, not a number"
        ):
            self.terms(bench, self.table(), target="origin", features=["wind"])

    def test_a_category_of_too_many_values(self, bench: TaskBench) -> None:
        frame = sample()
        frame["tail"] = [f"N{n}" for n in range(len(frame))]
        with pytest.raises(DataError, match="column 'tail' has more than 100 different values"):
            self.terms(bench, pa.Table.from_pandas(frame), features=["tail"])

    @hypothesis.given(
        shift=st.floats(-1e6, 1e6), scale=st.floats(1e-4, 1e4), seed=st.integers(0, 1000)
    )
    @hypothesis.settings(
        max_examples=15, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
    )
    def test_units_do_not_matter(
        self, bench: TaskBench, shift: float, scale: float, seed: int
    ) -> None:
        frame = sample(60, seed)
        one = self.terms(bench, pa.Table.from_pandas(frame), features=["distance", "wind"])
        frame["wind"] = frame["wind"] * scale + shift
        two = self.terms(bench, pa.Table.from_pandas(frame), features=["distance", "wind"])
        assert two["t"]["wind"] == pytest.approx(one["t"]["wind"], rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(two.loc["distance"], one.loc["distance"], rtol=1e-4, atol=1e-6)
