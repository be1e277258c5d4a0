"""Score matrices in blocks, ranks, recalls and the field's protocols; diagnosis against the hidden truth."""
