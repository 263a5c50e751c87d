"""Tests of hftune/report."""
