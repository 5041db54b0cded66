"""Runs the `windtunnel` command as `python -m windtunnel`."""

from windtunnel.pipelines.cli import main

if __name__ == "__main__":
    main()
