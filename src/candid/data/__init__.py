"""What images and labels there are."""
