"""Records and models as pictures, each as PNG and SVG under `figures/` of the study's folder.

style      the one style: sizes, Okabe and Ito's colours, markers and line styles; opening a picture and writing it
curves     lines of the toy set as curves: samples, reconstructions, the latent plane
learning   distortion, rate and the rate of every rung over training
tradeoff   distortion against rate beside the printed rows; the gap against the rate
tweets     a map of the latents of tweets
chosen     which records and models of a study's folder the pictures show
draw       all that a study's folder allows
"""
