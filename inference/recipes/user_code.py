"""Files of the user's own that recipes name: they are run once, kept with their runs, and errors in them name their line."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
import importlib.util
import inspect
from pathlib import Path
import sys
import traceback
from types import ModuleType
from typing import Any

CODE = "user_code"  # folder, in that of a run, of the files that it keeps
_LOADED: dict[tuple[str, str], "UserFile"] = {}  # by name and content: parts are registered once, whichever copy of the file is named
_RAN: list["UserFile"] = []  # all of them
_OURS = ("inference", "pyro_lvm")


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
    path = _checked(path)
    content = path.read_bytes()
    key = (path.name, sha256(content).hexdigest())
    earlier = _LOADED.get(key)
    if earlier is None or _changed(earlier, path.parent):
        _LOADED[key] = _run(path, content, key[1])
    return _LOADED[key]


def run_file(path: Path) -> UserFile:
    """Run a Python file anew, so that what it makes is shared with nobody.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it fails; the error names its line.
    """
    path = _checked(path)
    content = path.read_bytes()
    return _run(path, content, sha256(content).hexdigest())


def digests(files: Iterable[UserFile]) -> dict[str, str]:
    """Return the SHA-256 of all files and of the modules beside them by name.

    Raises:
        ValueError: If two that differ have one name.
    """
    found: dict[str, str] = {}
    for file in files:
        for name, source in file.sources.items():
            digest = sha256(source).hexdigest()
            if found.setdefault(name, digest) != digest:
                raise ValueError(
                    f"files of one's own must have names of their own, as a run keeps them; two are called {name}. Rename one."
                )
    return found


def _checked(path: Path) -> Path:
    if path.suffix != ".py" or not path.is_file():
        raise FileNotFoundError(f"{path} must be a Python file, whose name ends in .py; there is none. Correct the path.")
    return path.absolute()


def _changed(earlier: UserFile, folder: Path) -> bool:
    """Whether modules beside the file are others than when it was run."""
    return any(not (folder / name).is_file() or (folder / name).read_bytes() != text for name, text in earlier.sources.items())


def _run(path: Path, content: bytes, digest: str) -> UserFile:
    name = f"{path.stem}_{digest[:8]}_{len(_RAN)}"  # one program may load several versions of a file
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be loaded as a Python file. Correct its name.")
    module = importlib.util.module_from_spec(spec)
    hidden = _hidden(path.parent)
    before = set(sys.modules)
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
        sys.modules.update(hidden)
    _RAN.append(UserFile(path, module, {path.name: content} | beside))
    return _RAN[-1]


def _hidden(folder: Path) -> dict[str, ModuleType]:
    """Take modules out of Python's table whose names are those of modules in a folder, which are to be imported instead."""
    own = {path.stem if path.suffix == ".py" else path.name for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    own -= {*sys.stdlib_module_names, *_OURS}
    names = [name for name in sys.modules if name.partition(".")[0] in own and not _is_installed(sys.modules[name])]
    return {name: sys.modules.pop(name) for name in names}


def _is_installed(module: ModuleType) -> bool:
    file = Path(getattr(module, "__file__", None) or "")
    return "site-packages" in file.parts or any(file.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix))


def _taken_out(own: str, before: Container[str], folder: Path) -> dict[str, bytes]:
    """Return the sources of modules of a folder that were just imported, and let others of the same names be imported after them."""
    sources = {}
    for name, module in list(sys.modules.items()):
        file, package = Path(getattr(module, "__file__", None) or ""), name.partition(".")[0]
        is_new = name not in before and name != own and package not in {*sys.stdlib_module_names, *_OURS}
        if is_new and file.suffix == ".py" and file.is_relative_to(folder) and not _is_installed(module):
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
    except SystemExit as error:
        raise ValueError(f"{where(error, path.parent)}: the file ends the program. Leave sys.exit out.") from error
    except SyntaxError as error:
        raise ValueError(f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}") from error
    except Exception as error:
        raise ValueError(f"{where(error, path.parent)}: {type(error).__name__}: {error}") from error


def where(error: BaseException, folder: Path) -> str:
    """The last line of files in a folder that an error has passed, such as ``"my_models.py, line 12"``; otherwise the folder."""
    return _last_line(error, lambda name: Path(name).is_relative_to(folder)) or str(folder)


def own_line(error: BaseException) -> str:
    """The line of any file loaded here in which an error arose, such as ``"my_models.py, line 12"``, or nothing if it arose elsewhere."""
    own = {str(file.path.parent / name) for file in _RAN for name in file.sources}
    return _last_line(error, own.__contains__)


def _last_line(error: BaseException, is_own: Callable[[str], bool]) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
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


def function_in(file: UserFile, source: str) -> Callable[..., Any]:
    """Return the function that ``FILE:NAME`` names in a file that has been run.

    Raises:
        ValueError: If the file has no such function of at least one argument, the data.
    """
    name = read_source(source)[1]
    function = getattr(file.module, name, None)
    if not inspect.isroutine(function):
        own = [key for key, value in vars(file.module).items() if inspect.isfunction(value) and value.__module__ == file.module.__name__]
        raise ValueError(
            f"{read_source(source)[0]} must have a function {name}; it has {', '.join(own) or 'none'}. Correct the name after the colon."
        )
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind is inspect.Parameter.KEYWORD_ONLY:
        raise ValueError(f"{source} must take the data as its first argument. Write def {name}(data, ...).")
    return function
