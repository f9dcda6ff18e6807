"""What the outlier detector consists of."""
