"""What every room stands on: errors, commands, files, texts, secrets and sentences."""
