"""The model matrix: its types, and how the YAML file is read."""
