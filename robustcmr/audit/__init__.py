"""An audit of pairs, as pure functions of one part of the rows: joins, samples, scores and decisions."""
