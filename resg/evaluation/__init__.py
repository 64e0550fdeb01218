"""Evaluation: scores of a split, ranks and Recall@K by protocol, hard pairs, ablation probes."""
