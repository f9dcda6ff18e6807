"""What estimators share: inputs, state, inference, densities of codes."""
