"""Export of fitted estimators to ONNX, by tracing their networks once."""
