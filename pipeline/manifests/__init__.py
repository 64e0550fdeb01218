"""What a data set is, what its caption files say, and whether a copy on disk is complete."""
