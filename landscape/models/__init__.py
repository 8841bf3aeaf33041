"""Architectures by name: one file each, a registered function of keyword options that returns an nn.Module."""
