"""One page about some runs: how good each is, which is better, whether their latents are used, what they write."""
