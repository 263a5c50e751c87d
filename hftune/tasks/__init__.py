"""What is asked of a row: targets, scores, intervals, baselines."""
