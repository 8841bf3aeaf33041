"""Inner maximisers by name: one file each, a registered frozen dataclass (losses, x, index, budget) -> x'."""
