"""What every room stands on: errors, files, secrets, sentences."""
