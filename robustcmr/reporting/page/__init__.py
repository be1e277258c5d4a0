"""Pages of a run or a sweep: one self-contained HTML file each, without scripts or outside requests."""
