"""What a service tells systemd: it is ready, how it is, that it still turns. Silent where nobody listens."""

from __future__ import annotations

import os
import socket


def notify(*assignments: str) -> bool:
    """Send assignments to the service manager. Source: sd_notify(3).

    Args:
        assignments: READY=1, WATCHDOG=1, STATUS=text, STOPPING=1.

    Returns:
        Whether a manager listens and took them.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # A name in the abstract namespace begins with a zero byte, which an environment variable cannot hold.
    place = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(assignments).encode(), place)
    except OSError:
        return False  # a monitor does not end because nobody listens
    return True
