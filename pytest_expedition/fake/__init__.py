"""The fake Expedition instance: a pure simulation, its answers, and the server that carries it.

Nothing here imports the oracle: a fake and an oracle that share code share mistakes.
"""
