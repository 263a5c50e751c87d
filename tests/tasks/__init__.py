"""Tests of hftune/tasks."""
