"""Records as pages: Markdown to read."""
