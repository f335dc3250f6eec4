"""Where the weights of one checkpoint are: one file, shards, an adapter, a state dict, a distributed folder."""
