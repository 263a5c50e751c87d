"""Plots of what a run came to. Every one is drawn without pyplot: no window, no figure left open."""
