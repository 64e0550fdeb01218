"""The two operations that carry the model's cost; each folder stands alone and has a README."""
