"""The jobs: from web metadata to shards. Apache Beam lives here and nowhere else.

Entry modules hold wiring only:

- `filter`: metadata to rows worth fetching, and on to shards.
- `download`: the shards of a filtered run.
- `ground`: image-text shards to grounded shards.
- `pack`: published annotated sets to shards.
- `report`, `lint`: a page about a run, and a check of its files.

What a job's stages do is in `filter_job`, `download_job`, `ground_job`, `pack_job` and
`report_page`, in plain Python on Arrow tables; `metadata` reads corpora and `fetch` the web. All
jobs plan, launch and resume by `harness`, which is where Beam is imported.
"""
