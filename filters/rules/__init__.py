"""The rules: every rule class in a file of this folder is found and registered by its `name`."""
