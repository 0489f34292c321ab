"""Reads traffic that others made: HAR files, traces, and watched sessions."""
