"""From shards to batches: tables of a split, vocabulary, subwords, order of the pairs, padding."""
