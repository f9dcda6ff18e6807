"""Data that are read block by block: what a source is, and one file for each kind of source."""
