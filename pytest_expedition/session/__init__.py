"""What the plugin keeps for one session of pytest: settings and results."""
