"""Reports: from what the rules found to what people and programs read."""
