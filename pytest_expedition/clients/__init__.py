"""Scenarios: situations in which a correct server puts a client, and whether the client copes.

``catalogue`` has the situations, ``course`` what a client did in one, ``trial`` runs a client and
asks ``rules.client`` about it.
"""
