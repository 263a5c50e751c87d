"""Sentences of tagged words: reading, windows, batches."""
