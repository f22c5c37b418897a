"""`python -m candid` is `candid`."""

from candid.cli import main

if __name__ == "__main__":
    main()
