"""By how much one run's accuracy is above another's on the same test rows, with its 95 % interval.

    python benchmarks/paired.py runs/imdb-window runs/imdb-head-tail

Reads the test_predictions.csv of both: a right row is one whose prediction is its label. Rows that only one
of the two has scored are left out, and counted.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from hftune.errors import BadInput
from hftune.tasks.intervals import difference_of_shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("other", type=Path, help="run directory that it is compared with")
    options = parser.parse_args()
    print(compare(options.run, options.other))


def compare(run: Path, other: Path) -> str:
    """Returns a line: both accuracies, the difference and its interval.

    Raises:
        BadInput: The two were not scored on the same rows.
    """
    first, second = right_rows(run), right_rows(other)
    rows = sorted(first.keys() & second.keys())
    if not rows or any(first[row][0] != second[row][0] for row in rows):
        raise BadInput(f"{run} and {other} were not scored on the same rows")
    ours, theirs = (np.array([of[row][1] for row in rows]) for of in (first, second))
    difference, low, high = difference_of_shares(ours, theirs)
    left_out = len(first.keys() | second.keys()) - len(rows)
    return (
        f"accuracy {ours.mean():.4f} and {theirs.mean():.4f} on {len(rows):,} rows"
        f"{f' ({left_out:,} left out)' if left_out else ''}: {difference:+.4f} [{low:+.4f}, {high:+.4f}]"
    )


def right_rows(run: Path) -> dict[str, tuple[str, bool]]:
    """Returns of each test row, by its number, its label and whether the prediction is the same."""
    with (run / "test_predictions.csv").open(encoding="utf-8", newline="") as file:
        return {row["row"]: (row["label"], row["label"] == row["prediction"]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
