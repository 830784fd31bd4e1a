"""Readers of published forms: files in, records of `pipelines.pack_job.records` out."""
