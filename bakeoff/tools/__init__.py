"""The command lines of ms-swift, of the serving engines and of the trackers."""
