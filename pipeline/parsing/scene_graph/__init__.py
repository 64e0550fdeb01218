"""The learned component: captions to graphs by a network over tokens and arcs."""
