"""Parts of stacked autoencoders, unsupervised and supervised: layers, heads, labels."""
