"""Tests of hftune/inference."""
