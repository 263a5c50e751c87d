"""Tests of hftune/hub."""
