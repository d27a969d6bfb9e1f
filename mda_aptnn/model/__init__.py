"""Models: a frame in, atomic tensors out."""
