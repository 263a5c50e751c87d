"""Models that transformers lacks: files that travel with the weights, of torch and transformers alone."""
