"""Tests of hftune/data/tables."""
