"""The `windtunnel` command, also as `python -m windtunnel`."""

from windtunnel.schemas.interrupts import exit_on_signals, leave_with_its_code


def main() -> None:
    """Run the command line; a signal is met quietly from here on, while what it needs is imported too."""
    exit_on_signals()
    from windtunnel.pipelines import cli

    try:
        cli.main()
    except SystemExit as end:
        leave_with_its_code(end.code)
        raise


if __name__ == "__main__":
    main()
