"""What stacked autoencoders share, supervised ones included."""
