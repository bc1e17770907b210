"""Data sets, drawn objects and small models that tests make for themselves."""
