"""The store: the only code that knows folders, formats, fingerprints, locks and resume."""
