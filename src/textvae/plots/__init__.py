"""Pictures: the canvas and the colours of all of them, and the one of a run."""
