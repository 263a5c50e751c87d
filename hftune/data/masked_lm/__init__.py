"""Texts without labels, some of whose tokens are masked: reading, masking, batches."""
