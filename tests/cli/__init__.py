"""Tests of hftune/cli."""
