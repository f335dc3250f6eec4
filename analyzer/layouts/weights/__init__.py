"""Find the weights of one checkpoint: a single file, shards, an adapter, a state dict or a distributed folder."""
