"""The matcher: encoders, pooling, similarity, and the presets that turn parts of it off."""
