"""Optional dependencies: which extra brings which package, and how to install it."""

EXTRAS = {
    **dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "multipart", "python_multipart", "starlette"), "serve"),
    "platformdirs": "serve",
    **dict.fromkeys(("ray", "pyarrow", "pandas"), "ray"),
    **dict.fromkeys(("torch", "safetensors", "filelock", "scipy", "onnx", "onnxscript"), "train"),
    "av": "video",
    "h5py": "peers",
    "matplotlib": "plot",
    "nncf": "int8",
    "onnxruntime": "onnxruntime",
    "tensorboard": "tensorboard",
}


def install_hint(extra: str) -> str:
    """How to install an extra, for the end of an error message."""
    return f"in a clone of headcount run: pip install '.[{extra}]'"
