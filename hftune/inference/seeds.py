"""Runs of one recipe that differ in their seed alone: each one's scores, mean and standard deviation."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from hftune.errors import BadInput
from hftune.inference.compare import FinishedRun, common_scores


def summarise(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Returns what runs came to, as `seeds.json` has it.

    Args:
        runs: Two or more.

    Returns:
        `split`, "test", or "eval" where there are no test rows; `seeds`, the scores of each seed by the names
        of all_results.json; their `mean`, and `std`, the standard deviation with n - 1. A score that is not
        defined for one of them is nan in mean and std.

    Raises:
        BadInput: Two of them have other rows, so that their scores say nothing of the seed.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.record.data_fingerprints["data"] != first.record.data_fingerprints["data"]:
            raise BadInput(
                f"{first.path} and {run.path} were trained on other rows, which have changed in between; "
                "bring them back, or choose another --output_dir"
            )
    split, metrics = common_scores(runs)
    names = [f"{split}_{metric}" for metric in metrics]
    seeds = {
        str(run.settings["seed"]): {name: run.results.get(name, math.nan) for name in names} for run in runs
    }
    columns = {name: [scores[name] for scores in seeds.values()] for name in names}
    return {
        "split": split,
        "seeds": seeds,
        "mean": {name: statistics.fmean(values) for name, values in columns.items()},
        "std": {name: _deviation(values) for name, values in columns.items()},
    }


def _deviation(values: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else statistics.stdev(values)
