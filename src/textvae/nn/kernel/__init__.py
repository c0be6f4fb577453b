"""A kernel in C++, compiled at first use: layers, losses and steps of training, whole-sequence sampling and search, faster on a CPU."""
