"""Write a file so that its name has the whole of the old content or the whole of the new one."""

from contextlib import suppress
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace a file by a rename, and make its directory if that is missing.

    Raise OSError, for example on a full disk. The old file is then as it was, and no draft is left.
    """
    draft = path.with_suffix(".new")
    try:
        try:
            draft.write_text(text)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(text)
        draft.rename(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
