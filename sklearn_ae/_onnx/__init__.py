"""Models of fitted estimators in ONNX, written down while their networks run once."""
