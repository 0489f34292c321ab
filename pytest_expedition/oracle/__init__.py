"""Judges traffic: a history, one rule for each requirement, the verdict. No I/O."""
