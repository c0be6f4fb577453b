"""What can be counted on strings alone: words known, diversity, novelty, n-gram perplexity, and all of it in `metrics`."""
