"""The only place that makes prose: from findings to what people and machines read."""
