"""Tests, one file per source file, and whole-program tests."""
