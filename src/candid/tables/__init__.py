"""Tables: reading files, columns, corrections."""
