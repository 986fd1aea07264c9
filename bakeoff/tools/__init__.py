"""The command lines of ms-swift and of the serving engines, and the memory they need."""
