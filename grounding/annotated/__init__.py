"""Published annotations and grounded parquet, read into grounded records and written from them."""
