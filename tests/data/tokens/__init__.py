"""Tests of hftune/data/tokens."""
