"""The file format: fitted estimators as JSON and arrays, and back from untrusted files."""
