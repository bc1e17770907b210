"""Counting millions of images on a Ray cluster: the worker, and storage on disks and object stores."""
