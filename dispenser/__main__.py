import sys


def main() -> None:
    """The `dispenser` command."""
    try:
        import typer  # noqa: F401, PLC0415 - an agent's installation has no server libraries
    except ImportError:
        sys.exit("The command needs the server's libraries: pip install 'token-dispenser[server]'.")
    from dispenser.cli.app import run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
