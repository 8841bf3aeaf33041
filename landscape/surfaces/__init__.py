"""The loss over a line or a plane of parameter space, cell by cell, under several budgets at once."""
