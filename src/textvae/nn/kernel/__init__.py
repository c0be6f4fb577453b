"""A fused recurrent kernel in C++, compiled at first use: what `nn.LSTM` and `nn.GRU` compute, faster on a CPU."""
