"""The published data sets: one module for each, with its citation, its licence and its layout on disk.

Nothing here downloads a data set. Licences are quoted as far as their owners state them. Ask the owners before any
commercial use of the data, or of models trained on it. Coordinates are taken as the files have them. Several sets were
annotated in MATLAB, which counts pixels from 1, and that half or whole pixel is not corrected.
"""
