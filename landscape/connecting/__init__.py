"""A trained curve between two checkpoints: its bends, the loss along it, and both budget by budget."""
