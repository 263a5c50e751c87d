"""Tests of hftune/training."""
