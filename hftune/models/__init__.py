"""Models that travel with their weights: each file imports only torch and transformers."""
