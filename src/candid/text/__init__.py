"""All sentences for people, each written once, from values: nothing here measures or draws.

They are plain text: whoever prints them escapes them for HTML, Markdown or YAML.
"""
