"""The routes of the HTTP API, one module per subject.

Nothing that a client names is opened as a path or an address; models and photos are looked up by name.
"""
