"""Scenarios: situations in which a correct server puts a client, and whether the client copes.

``catalogue`` has the scenarios, ``harness`` runs a client in one, ``transcript`` is what the client
did there, and ``rules`` judge that.
"""
