"""``python -m xe``."""

from xe.main import main

if __name__ == "__main__":
    main()
