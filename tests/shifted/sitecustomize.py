"""Python imports this at its start, where this folder is on its path: in processes of a test."""

import seed_shift  # noqa: F401
