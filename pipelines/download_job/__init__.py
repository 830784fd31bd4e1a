"""One shard's download: its rows fetched by an engine, judged, stored, and committed."""
