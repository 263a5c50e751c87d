"""Memory and speed of `--streaming`: a bag of words is trained on millions of short rows, made for it.

    python benchmarks/streaming.py 10_000_000          # add --whole to read the same rows without streaming

Rows are removed afterwards. The memory is the most that the training process had resident.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
GROUP = 10_000  # rows of a row group
WORDS = np.array([f"word{number}" for number in range(2000)], dtype=object)


def write_rows(path: Path, rows: int) -> None:
    """Writes rows of about 50 bytes, whose label moves the words, drawn anew for each row group."""
    schema = pa.schema({"text": pa.string(), "label": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for group in range(-(-rows // GROUP)):
            random = np.random.default_rng(group)
            labels = random.integers(0, 2, min(GROUP, rows - group * GROUP))
            words = WORDS[random.integers(0, 1500, (len(labels), 6)) + 500 * labels[:, None]]
            texts = [" ".join(row) for row in words]
            columns = [texts, np.array(["negative", "positive"])[labels]]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=GROUP)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--whole", action="store_true", help="without --streaming")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "train.parquet", given.rows)
        command = [
            *(sys.executable, ROOT / "recipes/imdb_bag.py", "--train_file", folder / "train.parquet"),
            *("--output_dir", folder / "run", "--max_steps", given.steps, "--baselines", "false"),
            *("--max_eval_samples", 10_000, *["--streaming"] * (not given.whole)),
        ]
        began = time.monotonic()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        results = json.loads((folder / "run/all_results.json").read_text())
        size = (folder / "train.parquet").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(*(line for line in done.stdout.splitlines() if line.startswith("order:")))
    print(
        f"{given.rows:,} rows of {size / 2**20:,.0f} MB, {'whole' if given.whole else 'streamed'}: "
        f"{peak / 2**20:,.0f} MB of memory at most; {given.steps} steps at "
        f"{results['train_samples_per_second']:,.0f} rows/s; {seconds / 60:.1f} minutes in all"
    )


if __name__ == "__main__":
    main()
