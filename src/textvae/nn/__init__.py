"""Layers over sequences, Gaussians and priors: the parts that models are composed of."""
