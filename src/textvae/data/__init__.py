"""Strings and tokens: corpora, built-in sources, tokenizers, and length-bucketed batches."""
