"""Measuring: bounds on log p(x), what the latent holds, reconstruction quality, and their report."""
