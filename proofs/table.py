"""What a trial found, and the page that is made of all of them."""

import json
import subprocess
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from hftune.storage.files import write_json
from hftune.storage.run_dir import package_versions

HEAD = """# Proofs

What hftune promises of a run that is killed, stopped, cut off or damaged, tried by `make proof`:
real runs of {steps} steps, tiny but whole, with dropout, augmentation and several epochs.
*The same* always means one sha256 over weights, optimizer, counters, log and test predictions.

| What was tried | Times | Held | Seconds | |
|---|---|---|---|---|
"""


@dataclass
class Row:
    """One line of the table.

    Args:
        claim: What was tried and must hold.
        tried: How often.
        held: How often it held.
        note: Figures besides, such as the slowest case.
        seconds: How long all of it took.
    """

    claim: str
    tried: int = 0
    held: int = 0
    note: str = ""
    seconds: float = 0.0

    def __enter__(self) -> "Row":
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began

    def count(self, held: bool) -> None:
        """Notes one trial."""
        self.tried += 1
        self.held += held


def commit() -> str:
    """Returns the commit that is checked out, marked if files differ from it."""
    line = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(line, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() if not done.returncode else "unknown"


def keep(rows: list[Row], folder: Path, name: str, commit: str) -> None:
    """Writes what one proof found at a commit to a file, so that proofs can be repeated one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    found = {"date": when, "commit": commit, "rows": [asdict(row) for row in rows]}
    write_json(folder / f"{name}.json", found)


def write_page(folder: Path, names: list[str], page: Path, steps: int) -> None:
    """Makes the page of the files of all proofs that have been run."""
    lines, tried = [], []
    for name in names:
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        tried.append(f"{name} {found['date']} at {found['commit']}")
        for row in found["rows"]:
            mark = "" if row["held"] == row["tried"] else "**failed** "
            cells = [row["claim"], f"{row['tried']:,}", f"{mark}{row['held']:,}", f"{row['seconds']:,.0f}"]
            lines.append(f"| {' | '.join([*cells, row['note']])} |")
    versions = ", ".join(f"{package} {version}" for package, version in package_versions().items())
    tail = f"\n\nOn a CPU, one thread per process, with {versions}. Tried: {', '.join(tried)}.\n"
    page.write_text(HEAD.format(steps=steps) + "\n".join(lines) + tail, encoding="utf-8")
