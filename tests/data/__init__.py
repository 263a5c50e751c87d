"""Tests of hftune/data."""
