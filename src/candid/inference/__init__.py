"""From bytes to rows of predictions."""
