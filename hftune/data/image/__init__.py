"""Images: from folders, lists and columns to augmented views."""
