"""What well-known libraries say of faces, read as they write it: a module for each of them."""
