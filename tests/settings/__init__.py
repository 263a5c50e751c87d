"""Tests of hftune/settings."""
