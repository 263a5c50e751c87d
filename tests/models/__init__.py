"""Tests of hftune/models."""
