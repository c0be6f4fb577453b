"""A kernel in C++, compiled at first use: `nn.LSTM`, `nn.GRU`, dropout, and whole-sequence sampling and search, faster on a CPU."""
