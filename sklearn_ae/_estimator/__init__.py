"""Shared code of estimators: validation, fit, inference, densities of codes, pickling."""
