"""Checkpoints and finished runs of earlier versions, which later ones must load and go on from."""
