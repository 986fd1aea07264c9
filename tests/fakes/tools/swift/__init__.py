"""A fake ms-swift: the three programs that the chain calls, small and real, and failing on request."""
