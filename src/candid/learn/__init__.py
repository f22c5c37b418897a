"""From pixels to a model."""
