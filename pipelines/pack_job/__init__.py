"""The packing job: a reader for each published form, and the stages that make shards of them.

read (annotations to records with keys) -> mix (one row per key, in hashed order) -> pack (shards).
A reader is a pure function from its files to `records.Record`, or a reason for each that it
cannot use; `formats` lists them.
"""
