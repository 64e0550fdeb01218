"""Why an image and a caption match: shares of words and regions, edges left out, and pages of it."""
