"""Texts: from rows to token ids."""
