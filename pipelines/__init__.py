"""The jobs: from web metadata to shards. Apache Beam lives here and nowhere else.

An entry module (`filter`, `download`, `lint`) holds options and wiring only. `stages` plans
each stage and `launch` sees its items done; `filter_item`, `mix_item` and `download_item` are
what happens to one item inside a worker, in plain Python on Arrow tables. `runners`,
`transforms` and `local_worker` are the modules that import Beam.
"""
