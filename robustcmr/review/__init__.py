"""The local page on which people judge pairs of an audit, and the files that carry their verdicts."""
