"""The filter job's stages: filter, mix, and the download that `download_job` does."""
