"""Recipes: settings that belong together, one TOML file each."""
