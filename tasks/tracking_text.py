"""Text for MLflow (a page's first sections) and about it (why it cannot be used)."""

from pathlib import Path

from engage.masking import mask_urls


def first_sections(text: str, name: str, length: int) -> str:
    """The first sections that fit into `length` characters, without images, which a description cannot show; `name` is the whole page."""
    first, *others = "\n".join(line for line in text.splitlines() if not line.startswith("![")).split("\n## ")
    told = first
    while others and len(told) + len("\n## ") + len(others[0]) <= length:
        told += f"\n## {others.pop(0)}"
    if not others and len(told) <= length:
        return told
    return f"{told[:length]}\n\nMore in the artifact `{name}`."


def trouble(error: Exception, uri: str, home: Path) -> str:
    """Why MLflow cannot be used, and what to do: the disk is full or not writable, or there is no such server."""
    reason = mask_urls((str(error).splitlines() or [type(error).__name__])[0][:200])
    uri = mask_urls(uri)
    if any(sign in str(error) for sign in ("disk is full", "No space left", "disk I/O error")):
        again = "free some space and run the same command again: nothing stored is lost"
        return f"MLflow at {uri}: the disk is full ({reason}); {again}"
    if any(sign in str(error) for sign in ("readonly database", "Read-only file system", "Permission denied")):
        return f"MLflow at {uri} cannot be written ({reason}); make {home} writable"
    if "database is locked" in str(error):
        return f"MLflow at {uri}: another program keeps the database locked; end it, and run the same command again"
    if isinstance(error, OSError) and error.filename:
        return f"MLflow at {uri}: {error.filename} cannot be used ({error.strerror}); move it away, or restore it"
    if uri.startswith("sqlite:"):
        return (
            f"MLflow at {uri} cannot be used ({reason}): the file is damaged, or not a database of MLflow's; restore a copy of "
            "it, or move it away: a new one is made, which knows no earlier run and no champion"
        )
    return f"MLflow at {uri} cannot be used ({reason}); start its server, or correct MLFLOW_TRACKING_URI"
