"""Files that ms-swift imports before it starts; each works alone, in any environment."""
