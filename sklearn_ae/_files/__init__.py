"""How models are described in files, and built again from what a stranger may have written."""
