"""What the stream benchmarks share: the generator, the servers, the measurements, the tables."""
