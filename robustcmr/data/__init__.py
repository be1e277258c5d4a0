"""Readers of image-text data: features, captions, vocabularies and the batches made of them."""
