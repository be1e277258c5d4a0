"""Score matrices in blocks, ranks, recalls and the field's protocols; estimates compared with the truth."""
