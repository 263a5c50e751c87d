"""Tests of hftune/models/standalone."""
