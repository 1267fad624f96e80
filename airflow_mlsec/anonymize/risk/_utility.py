"""What a model loses: its cross-validated score on the raw table compared with that on the release.

The same model, folds and columns on both sides; scikit-learn comes with the extra ``utility``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlsec.errors import ColumnMissing, UsageError
from airflow_mlsec.values import is_number

_FOLDS = 5
_MOST_CLASSES = 20
_SEED = 7


@dataclass(frozen=True)
class ModelUtility:
    """Scores from cross-validation: the area under the ROC curve for two classes, balanced accuracy for
    more, R² for numbers; ``baseline`` is that of a model that knows nothing but the target."""

    target: str
    metric: str
    raw: float
    released: float
    baseline: float
    features: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": "airflow-mlsec/model-utility/1", **asdict(self)}


def measure_utility(
    raw: pa.Table, released: pa.Table, target: str, features: Sequence[str] | None = None
) -> ModelUtility:
    """Train on either table, on ``features`` (default: the columns that both have), and compare.

    :raises UsageError: if scikit-learn is not installed, or there is too little to learn from.
    :raises ColumnMissing: if a table lacks the target.
    """
    try:
        from sklearn.dummy import DummyClassifier, DummyRegressor
    except ImportError:
        raise UsageError(
            "model utility needs scikit-learn: pip install 'airflow-mlsec[utility]'"
        ) from None
    for table in (raw, released):
        if target not in table.schema.names:
            raise ColumnMissing.among({target}, table.schema.names, "of a table of the comparison")
    names = [
        n
        for n in features or released.schema.names
        if n != target and n in raw.schema.names and n in released.schema.names
    ]
    raw, released = (t.filter(t.column(target).is_valid()) for t in (raw, released))
    if not names or min(raw.num_rows, released.num_rows) < 2 * _FOLDS:
        raise UsageError("a model needs at least one column besides the target, and ten rows")
    kind = raw.schema.field(target).type
    classes = raw.column(target).unique()
    if is_number(kind) and len(classes) > _MOST_CLASSES:
        metric, baseline = "r2", DummyRegressor()
        if not is_number(released.schema.field(target).type):
            raise UsageError(
                f"the target '{target}' is a number in the raw table only; give a target that is alike in both"
            )
    else:
        both = set(map(str, classes.to_pylist()))
        if not len(set(map(str, released.column(target).unique().to_pylist())) & both) >= 2:
            raise UsageError(
                f"the target '{target}' does not have two values that are in both tables; give another"
            )
        metric = "roc_auc" if len(classes) == 2 else "balanced_accuracy"
        baseline = DummyClassifier(strategy="prior")
    return ModelUtility(
        target,
        metric,
        _score(raw, names, target, metric, None),
        _score(released, names, target, metric, None),
        _score(raw, names, target, metric, baseline),
        len(names),
    )


def _score(table: pa.Table, names: list[str], target: str, metric: str, model: Any) -> float:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    regression = metric == "r2"
    frame = table.select(names).to_pandas()
    numbers = [n for n in names if is_number(table.schema.field(n).type)]
    others = [n for n in names if n not in numbers]
    frame[others] = frame[others].astype("string").fillna("").astype(object)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    prepared = ColumnTransformer([("text", encoder, others)], remainder="passthrough")
    boosting = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    model = model or boosting(random_state=_SEED, max_iter=60)
    column = table.column(target)
    y = column.to_numpy() if regression else column.cast(pa.string()).to_numpy().astype(str)
    if not regression:
        _, y = np.unique(y, return_inverse=True)
        if np.bincount(y).min() < _FOLDS:
            raise UsageError(f"each class of target '{target}' needs at least {_FOLDS} rows")
    folds = (KFold if regression else StratifiedKFold)(_FOLDS, shuffle=True, random_state=_SEED)
    scores = cross_val_score(make_pipeline(prepared, model), frame, y, scoring=metric, cv=folds)
    return round(float(scores.mean()), 6)
