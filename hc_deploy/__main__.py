"""`python -m hc_deploy` is `hc-deploy`."""

from hc_deploy.cli import main

if __name__ == "__main__":
    main()
