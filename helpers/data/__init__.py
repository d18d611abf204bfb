"""The data set: its images, who they are of, and which side of the split they are on."""
