"""`python -m landscape`, for jobs that name the interpreter rather than the command."""

from landscape.cli import main

if __name__ == "__main__":
    main()
