"""The sources: each file declares the formats of one publisher in its tuple `SOURCES`."""
