"""The explorer: a page on this machine for one run, over the public API."""
