"""Training of modules: batches, random numbers, devices and threads, the loop, checkpoints."""
