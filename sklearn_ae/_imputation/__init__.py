"""How much of an autoencoder's reconstruction improves on the Gaussian's mean, and its errors."""
