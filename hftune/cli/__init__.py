"""The `hftune` command: one file for each of its words."""
