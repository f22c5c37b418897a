"""All sentences for people, each written once, from values: nothing here measures or draws."""
