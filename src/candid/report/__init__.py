"""Records in, one HTML file and one model card out."""
