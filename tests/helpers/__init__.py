"""Data sets, drawn objects, small models and servers that tests make for themselves."""
