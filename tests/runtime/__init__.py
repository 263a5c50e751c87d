"""Tests of hftune/runtime."""
