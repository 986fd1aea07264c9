"""Command lines of ms-swift and the engines, and the memory they need."""
