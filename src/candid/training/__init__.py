"""From packed images to a trained network."""
