"""What stands below scores of pairs: how far one text, or overlap, gets, and what swapping does."""

import math
from collections.abc import Mapping

from hftune.tasks.base import Task

PARTS = {  # scores of simple models of a part of each pair, see `hftune.data.text.pair_baselines`
    "second_only": "the second text alone",
    "first_only": "the first text alone",
    "overlap": "overlap alone, nothing of what the texts say",
}


def pair_lines(results: Mapping[str, float], task: Task) -> list[str]:
    """Returns a line for each; [] where rows are no pairs or nothing was tested.

    Args:
        results: The content of `all_results.json`.
        task: Its first metric is told.
    """
    metric = next(iter(task.metrics))
    scores = {title: results.get(f"test_{name}_{metric}", math.nan) for name, title in PARTS.items()}
    sides = [
        f"{task.title(metric)} {score:.3f} from {title}"
        for title, score in scores.items()
        if not math.isnan(score)
    ]
    return [*sides, *_of_swap(results)]


def _of_swap(results: Mapping[str, float]) -> list[str]:
    if "test_swap_consistency" in results:
        share, low, high = (100 * results[f"test_swap_consistency{end}"] for end in ("", "_low", "_high"))
        where = "of the test rows get the same answer where the two texts change places"
        return [f"{share:.1f} % [{low:.1f}, {high:.1f}] {where}"]
    if "test_swap_change" in results:
        change = results["test_swap_change"]
        return [f"answers change by {change:.3g} on average where the two texts change places"]
    return []
