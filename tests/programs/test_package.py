"""What an installed hftune holds: every file of the package, templates included, and nothing else."""

import fnmatch
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_of_the_package_is_installed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for path in (ROOT / "hftune").rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        package = ".".join(path.parent.relative_to(ROOT).parts)
        assert package in setuptools["packages"], path
        data = setuptools["package-data"].get(package, [])
        assert path.suffix == ".py" or any(fnmatch.fnmatch(path.name, name) for name in data), path
