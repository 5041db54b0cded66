"""The command line in this process, which has imported its parts already: a process of its own starts in seconds."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from subprocess import CompletedProcess


def windtunnel(*words: str, folder: Path | None = None) -> CompletedProcess[str]:
    """Run a command as the shell does, in `folder` where one is given; return its exit code and what it printed."""
    from windtunnel.pipelines.cli import main

    out, err, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    sys.argv = ["windtunnel", *words]
    try:
        with contextlib.chdir(folder or Path.cwd()), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())
