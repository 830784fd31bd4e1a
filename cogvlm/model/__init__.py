"""The model text: config, decoder, tower, experts. No I/O, no parallelism, no training in it."""
