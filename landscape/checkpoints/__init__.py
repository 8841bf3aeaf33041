"""Checkpoints: told apart, read without running anything in them, matched to a model, written."""
