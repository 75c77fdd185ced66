"""`hc-deploy`, and `python -m hc_deploy`."""

from hc_deploy.system import interrupts


def main() -> None:
    """Run the command line."""
    interrupts.install()  # before the first slow import
    from hc_deploy.cli import app
    from hc_deploy.console import run_app

    run_app(app)


if __name__ == "__main__":
    main()
