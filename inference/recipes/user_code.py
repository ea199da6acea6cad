"""Files of the user's own that recipes name: they are run once, kept with their runs, and errors in them name their line."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
import importlib.util
import inspect
from pathlib import Path
import sys
import traceback
from types import ModuleType
from typing import Any

_LOADED: dict[tuple[str, str], "UserFile"] = {}  # by name and content: a file is run once, whichever copy of it is named


class UserFile:
    """A Python file of the user's, and the modules beside it that it imports.

    Attributes:
        path: Where it is.
        module: What it defines.
        sources: The text of the file and of the modules beside it, by their paths relative to its folder.
    """

    def __init__(self, path: Path, module: ModuleType, sources: Mapping[str, bytes]) -> None:
        self.path, self.module, self.sources = path, module, dict(sources)


def load_file(path: Path) -> UserFile:
    """Run a Python file, unless one of that name and content has been run already.

    The file can import modules beside it, at its top level.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it fails; the error names its line.
    """
    if path.suffix != ".py" or not path.is_file():
        raise FileNotFoundError(f"{path} must be a Python file, whose name ends in .py; there is none. Correct the path.")
    path = path.resolve()
    content = path.read_bytes()
    key = (path.name, sha256(content).hexdigest())
    earlier = _LOADED.get(key)
    if earlier is None or _changed(earlier, path.parent):
        _LOADED[key] = _run(path, content, key[1])
    return _LOADED[key]


def _changed(earlier: UserFile, folder: Path) -> bool:
    """Whether modules beside the file are others than when it was run."""
    return any(not (folder / name).is_file() or (folder / name).read_bytes() != text for name, text in earlier.sources.items())


def _run(path: Path, content: bytes, digest: str) -> UserFile:
    name = f"{path.stem}_{digest[:8]}"  # two runs may keep two versions of a file
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be loaded as a Python file. Correct its name.")
    module = importlib.util.module_from_spec(spec)
    before = dict(sys.modules)
    sys.modules[name] = module  # where dataclasses look for it
    sys.path.insert(0, str(path.parent))
    try:
        with user_errors(path):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
        beside = _taken_out(name, before, path.parent)
    return UserFile(path, module, {path.name: content} | beside)


def _taken_out(own: str, before: Mapping[str, ModuleType], folder: Path) -> dict[str, bytes]:
    """Return the sources of modules of a folder that were just imported, and let others of the same names be imported after them."""
    sources = {}
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        is_new = name != own and name.partition(".")[0] not in before
        if is_new and file.suffix == ".py" and file.is_relative_to(folder) and "site-packages" not in file.parts:
            sources[str(file.relative_to(folder))] = file.read_bytes()
            del sys.modules[name]
    return sources


@contextmanager
def user_errors(path: Path) -> Iterator[None]:
    """Turn an error within a ``with`` block into one that names the line of the user's file where it arose.

    Raises:
        ValueError: In place of any exception.
    """
    try:
        yield
    except SyntaxError as error:
        raise ValueError(f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}") from error
    except Exception as error:
        raise ValueError(f"{where(error, path.parent)}: {type(error).__name__}: {error}") from error


def where(error: BaseException, folder: Path) -> str:
    """The last line of files in a folder that an error has passed, such as ``"my_models.py, line 12"``; otherwise the folder."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(folder)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else str(folder)


def own_line(error: BaseException) -> str:
    """The line of any file loaded here in which an error arose, such as ``"my_models.py, line 12"``, or nothing if it arose elsewhere."""
    own = {str(file.path.parent / name) for file in _LOADED.values() for name in file.sources}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def read_source(source: str) -> tuple[Path, str]:
    """Split ``FILE:NAME`` into the path of a file and the name of a function in it.

    Raises:
        ValueError: If it has another form.
    """
    file, colon, name = source.rpartition(":")
    if not (colon and file.endswith(".py") and name.isidentifier()):
        raise ValueError(f"a pair must be given as FILE.py:FUNCTION, such as my_models.py:make_pair; got {source!r}. Correct it.")
    return Path(file), name


def load_function(source: str) -> tuple[UserFile, Callable[..., Any]]:
    """Load the function that ``FILE:NAME`` names, with its file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file fails, or has no such function of at least one argument, the data.
    """
    path, name = read_source(source)
    file = load_file(path)
    function = getattr(file.module, name, None)
    if not callable(function):
        own = [
            key for key, value in vars(file.module).items() if callable(value) and getattr(value, "__module__", "") == file.module.__name__
        ]
        raise ValueError(f"{path} must have a function {name}; it has {', '.join(own) or 'none'}. Correct the name after the colon.")
    if not inspect.signature(function).parameters:
        raise ValueError(f"{source} must take the data as its first argument; it takes none. Write def {name}(data, ...).")
    return file, function
