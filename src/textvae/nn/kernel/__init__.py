"""A kernel in C++, compiled at first use: what `nn.LSTM`, `nn.GRU` and dropout compute, and whole-sequence sampling, faster on a CPU."""
