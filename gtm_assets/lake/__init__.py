"""The lake: the change log of every raw table, as files of Parquet."""
