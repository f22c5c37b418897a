"""Columns of tables, and anybody's predictions in them."""
