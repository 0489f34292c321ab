"""What Expedition says: requirements, schemas, and one answer in any dialect."""
