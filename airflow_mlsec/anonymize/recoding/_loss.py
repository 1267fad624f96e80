"""What a recoding costs: by column, by class, and compared with the distribution of the table.

Sources: Xu et al., "Utility-Based Anonymization Using Local Recoding" (KDD 2006) for the Normalized
Certainty Penalty; Bayardo, Agrawal (ICDE 2005) for discernibility; LeFevre et al. (ICDE 2006) for
the average class size; Kifer, Gehrke, "Injecting Utility into Anonymized Datasets" (SIGMOD 2006)
for the Kullback-Leibler divergence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_mlsec.anonymize._coding import Codes
from airflow_mlsec.anonymize.recoding._classes import Mask, Numbers, added_up


@dataclass(frozen=True)
class CellLoss:
    """For one column, the loss of each tuple's cell, from 0 to 1, and the number of leaves."""

    of_tuple: Numbers
    leaves: int

    @property
    def values(self) -> Numbers:
        """How many leaves each cell stands for."""
        found: Numbers = self.of_tuple * (self.leaves - 1) + 1
        return found


def loss_figures(
    cells: Mapping[str, CellLoss], classes: Codes, released: Mask, weights: Numbers
) -> dict[str, Any]:
    """Discernibility, average class size, loss by column (a suppressed cell counts 1), and the
    Kullback-Leibler divergence, in nats, of the released rows from what the release says about them
    if all values of a cell are assumed to be equally frequent."""
    kept = weights[released]
    sizes = added_up(classes[released], kept, 0)
    rows, total = float(kept.sum()), max(1.0, float(weights.sum()))
    suppressed = float(weights.sum()) - rows
    by_column = {
        name: round(float((cell.of_tuple[released] * kept).sum() + suppressed) / total, 9)
        for name, cell in cells.items()
    }
    found: dict[str, Any] = {
        # A suppressed row counts as indistinguishable from all rows.
        "discernibility": round(float((sizes**2).sum()) + suppressed * total),
        "average_class_size": round(rows / max(1, int((sizes > 0).sum())), 6),
        "loss_by_column": by_column,
    }
    if rows:
        volume = np.zeros(len(kept))
        for cell in cells.values():
            volume += np.log(cell.values[released])
        some = kept > 0
        size = sizes[classes[released]]
        told = np.log(kept[some] / size[some]) + volume[some]
        found["kl_divergence"] = round(float((kept[some] * told).sum()) / rows, 9)
    return found
