"""The server: one application for programs (HTTP) and people (a page)."""
