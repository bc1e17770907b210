"""The files that labeling tools write: one module for each tool, with its layout on disk.

Most tools mark people with boxes, and other things beside people. A parser keeps every annotation with its class. Which
classes are counted, and where in its box a person is counted, is decided in `headcount.datasets.boxes`.
"""
