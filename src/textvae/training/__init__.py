"""Training: objective, schedules, the loop, hooks and checkpoints."""
