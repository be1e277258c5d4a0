"""Tables and plots made from what runs have written; nothing here trains."""
