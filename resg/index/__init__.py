"""An index of encoded images and captions, in a folder: its files, and how it is made."""
