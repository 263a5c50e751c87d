"""Tests of hftune/storage."""
