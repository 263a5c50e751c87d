"""Tests of hftune/data/text."""
