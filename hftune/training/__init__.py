"""The loop, what it is given, and what it leaves."""
