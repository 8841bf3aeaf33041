"""Data sets by name: one file each, a registered function (split, data_dir) -> Data.

Sources of a user's own, NAME:WORDS, are one file each too: a registered function (words, wanted) -> Data.
"""
