"""Data sets by name: one file each, a registered function (split, data_dir) -> Data."""
