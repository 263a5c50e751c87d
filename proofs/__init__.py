"""Trials that anyone can repeat: what is promised of a run, tried many times, counted and written down."""
