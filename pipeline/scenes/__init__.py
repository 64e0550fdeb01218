"""The generated data set: pictures of objects in relations, with captions known to be true."""
