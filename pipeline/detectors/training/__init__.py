"""Train the embedded detector of photographs with torchvision's parts."""
