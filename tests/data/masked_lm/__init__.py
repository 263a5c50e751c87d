"""Tests of hftune/data/masked_lm."""
