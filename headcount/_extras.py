"""Optional dependencies: which extra provides a package, and how to install it."""

# Import name of a package -> the extra that provides it.
EXTRAS = {
    **dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "multipart", "python_multipart", "starlette"), "serve"),
    "platformdirs": "serve",
    **dict.fromkeys(("ray", "pandas"), "ray"),
    **dict.fromkeys(("torch", "safetensors", "msgspec", "scipy", "onnx", "onnxscript"), "train"),
    "h5py": "hdf5",
    "pi_heif": "heif",
    "matplotlib": "plot",
    "nncf": "int8",
    "onnxruntime": "onnxruntime",
    "pyarrow": "parquet",
    "tensorboard": "tensorboard",
}


def install_hint(extra: str) -> str:
    """The command that installs an extra, to end an error message with.

    Args:
        extra: The name of the extra, as in pyproject.toml.
    """
    return f"in a clone of headcount run: pip install '.[{extra}]'"
