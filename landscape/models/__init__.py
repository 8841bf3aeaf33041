"""Architectures by name: one file each, a registered function of options that returns an nn.Module."""
