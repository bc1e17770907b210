"""Finding images and annotation files in the folders of a data set.

No path in an annotation file is followed out of the data folder, since annotation files come from anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from headcount.datasets.annotations import PointsError
from headcount.io.images import IMAGE_SUFFIXES
from headcount.io.names import is_hidden, natural_key

MAX_PATH = 1000  # characters
MAX_NAME_BYTES = 255  # of a file or folder, the limit of common file systems


def list_files(folder: Path, suffixes: Iterable[str], pattern: str = "*") -> list[Path]:
    """Files in natural order, without hidden files and folders, such as those in archives made on a Mac.

    Args:
        folder: The folder to search.
        suffixes: Suffixes in lower case. Files may have them in upper case.
        pattern: A glob pattern relative to the folder.

    Raises:
        PointsError: there is no such folder.
    """
    if not folder.is_dir():
        raise PointsError(f"{folder}: no such folder; unpack the data set again, or check the path")
    matching = (path for path in folder.glob(pattern) if path.suffix.lower() in suffixes)
    found = [path for path in matching if not is_hidden(path.relative_to(folder))]
    return sorted(found, key=lambda path: natural_key(str(path)))


def child_folder(folder: Path, name: str) -> Path | None:
    """The folder of this name in `folder`, in upper or lower case, or None."""
    return next(
        (path for path in sorted(folder.glob("*")) if path.is_dir() and path.name.lower() == name.lower()), None
    )


def find_home(root: Path, *names: str) -> Path:
    """The folder that contains one of `names`: `root`, or the only folder in `root` that does.

    Archives unpack into a folder of their own, so users may name that folder or the one around it.

    Raises:
        PointsError: no folder contains one of the names, or several do.
    """
    wanted = {name.lower() for name in names}
    homes = [
        folder
        for folder in (root, *sorted(root.glob("*")))
        if folder.is_dir() and any(path.name.lower() in wanted for path in folder.iterdir())
    ]
    if not homes:
        raise PointsError(f"{root}: holds no {names[0]}; give the folder of the data set")
    if homes[0] != root and len(homes) > 1:
        raise PointsError(f"{root}: several folders hold {names[0]}; give the folder of one data set")
    return homes[0]


def match_pairs(images: dict[str, Path], labels: dict[str, Path]) -> tuple[list[tuple[Path, Path]], list[PointsError]]:
    """Pair images with annotation files of the same name.

    Args:
        images: Images by name.
        labels: Annotation files by name.

    Returns:
        (image, annotation file) for each image that has both, in the order of `images`; and an error for each file
        without a partner, in natural order.
    """
    errors = []
    for name in sorted(images.keys() ^ labels.keys(), key=natural_key):
        path, missing = (images[name], "annotation") if name in images else (labels[name], "image")
        errors.append(PointsError(f"{path}: has no {missing}; unpack the data set again, or remove the file"))
    return [(image, labels[name]) for name, image in images.items() if name in labels], errors


def check_path(name: str, where: str | Path, line_breaks: bool = False) -> None:
    """Raise PointsError for a name that no file of a data set has; asking for such a file can raise anything.

    Args:
        name: The name of a file.
        where: The annotation file, for error messages.
        line_breaks: Whether the name may have them. Tables of headcount name files that do.
    """
    parts = re.split(r"[/\\]", name)
    too_long = len(name) > MAX_PATH or any(len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts)
    if too_long or "\0" in name or (re.search(r"[\n\r]", name) and not line_breaks):
        raise PointsError(f"{where}: {name[:40]!r} is not a path; correct it")


def resolve_inside(root: Path, where: str | Path, name: str, folder: Path) -> Path:
    """The path that an annotation file means by `name`.

    Args:
        root: The data folder. The path must stay inside.
        where: The annotation file, for error messages.
        name: The path in the annotation file. Backslashes are taken as separators, since tools on Windows write them.
        folder: The folder that relative paths start from.

    Raises:
        PointsError: the path leads out of `root`, or is not a path.
    """
    check_path(name, where)
    path = Path(os.path.normpath(folder / name.replace("\\", "/")))
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise PointsError(f"{where}: '{name}' leads out of the data folder {root} and is not followed; correct it")
    return path


def relative_path(path: Path, folder: Path) -> str:
    """`path` relative to `folder` if it is below it, else `path` as it is, with forward slashes."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def names_below_common_folder(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """The deepest folder that holds all the files, and each file's path below it, with forward slashes."""
    absolute = [path.absolute() for path in paths]
    folder = Path(os.path.commonpath([path.parent for path in absolute])) if absolute else Path.cwd()
    return folder, [path.relative_to(folder).as_posix() for path in absolute]


class ImageIndex:
    """The images below a folder, found by the names that annotation files use.

    Attributes:
        root: The folder.
        paths: All images below it, in natural order.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = list_files(root, IMAGE_SUFFIXES, "**/*")
        self._by_name: dict[str, list[Path]] = {}
        for path in self.paths:
            for name in (path.name.lower(), path.stem.lower()):
                self._by_name.setdefault(name, []).append(path)

    def find(self, name: str, where: Path, *folders: Path) -> Path:
        """Find an image by the path in an annotation file.

        Args:
            name: The path in the annotation file.
            where: The annotation file, for error messages.
            *folders: Folders that the path may be relative to, before the root of the index.

        Returns:
            The image at that path, else the only image of that file name anywhere below the root.

        Raises:
            PointsError: there is no such image, several images have that name, or the path leads out of the root.
        """
        for folder in (*folders, self.root):
            path = resolve_inside(self.root, where, name, folder)
            if path.is_file():
                return path
        file_name = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
        found = self._by_name.get(file_name) or self._by_name.get(file_name.rsplit(".", 1)[0]) or []
        if len(found) == 1:
            return found[0]
        count = f"{len(found)} images are" if found else "no image is"
        raise PointsError(f"{where}: {count} named '{name}' below {self.root}; put the images there")

    def with_stem(self, path: Path) -> Path | None:
        """The image in the folder of `path` that has the same name apart from the suffix, or None."""
        candidates = self._by_name.get(path.stem.lower(), ())
        return next((image for image in candidates if image.parent == path.parent), None)
