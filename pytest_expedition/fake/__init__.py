"""The fake Expedition instance: a pure simulation, the answers it gives, and the HTTP server.

Nothing here imports the oracle: a fake and an oracle that share code share mistakes.
"""
