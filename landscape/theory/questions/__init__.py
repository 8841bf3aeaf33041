"""What `landscape theory` can be asked of a data set, one file each: (data, *, flags) -> Result."""
