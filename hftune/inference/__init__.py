"""From a saved model and new rows to predictions, and to reasons for them."""
