"""Files of a run, wherever it is: the store, the writer protocol, parquet and tar in one way."""
