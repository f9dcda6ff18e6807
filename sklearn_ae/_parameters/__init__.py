"""Parameters of estimators and networks: how they are declared, documented and constrained."""
