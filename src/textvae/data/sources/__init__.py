"""Distributions over strings whose log-probabilities and entropy are known exactly."""
