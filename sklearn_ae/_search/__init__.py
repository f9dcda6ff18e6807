"""Nearest neighbours of binary codes."""
