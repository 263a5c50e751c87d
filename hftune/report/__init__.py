"""What people read at the end of a run: summary, plots, model card, tables of predictions."""
