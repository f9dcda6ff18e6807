"""Devices, random numbers, batches and the training loop: the rooms that users never see."""
