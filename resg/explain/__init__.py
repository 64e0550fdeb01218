"""Why an image and a caption match: shares of words and regions, what edges did, pages of it."""
