"""The model as a composition: encoder, latent hierarchy, decoder."""
