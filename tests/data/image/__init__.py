"""Tests of hftune/data/image."""
