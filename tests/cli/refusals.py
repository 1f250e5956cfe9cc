"""What a user sees of a refusal."""

import subprocess


def assert_refused(done: subprocess.CompletedProcess[str], status: int, says: str) -> None:
    """Fail unless a command ended with a status and said so, in one line where it is no usage error."""
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
