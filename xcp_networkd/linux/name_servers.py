"""The file with name servers and search domains."""

import os
from pathlib import Path
from typing import Final

HEADER: Final = "# written by networkd for "


def text(interface: str, servers: tuple[str, ...], domains: tuple[str, ...]) -> str:
    """Give the file's content; it names the interface it was written for."""
    lines = [HEADER + interface]
    if domains:
        lines.append("search " + " ".join(domains))
    lines += [f"nameserver {server}" for server in servers]
    return "\n".join(lines) + "\n"


def read(path: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Give interface (empty when someone else wrote the file), servers and domains."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "", (), ()
    interface = lines[0].removeprefix(HEADER) if lines and lines[0].startswith(HEADER) else ""
    servers: list[str] = []
    domains: list[str] = []
    for line in lines:
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *found]:
                domains = found
    return interface, tuple(servers), tuple(domains)


def write(path: Path, content: str) -> None:
    """Replace the file at once; where it is a mount point, in place."""
    temporary = path.with_name(path.name + ".networkd")
    try:
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        path.write_text(content, encoding="utf-8")
