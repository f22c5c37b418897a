"""What a network looks at, and whether the maps can be trusted."""
