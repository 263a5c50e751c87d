"""What a run is told: settings, their defaults and checks, the command line and YAML, `--help`."""
