"""Settings of a run: their defaults and checks, the command line and YAML, `--help`."""
