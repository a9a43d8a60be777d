"""What can go wrong below the API: engines and database files."""


class DatabaseError(Exception):
    """Base of this package's own errors; the text is for an administrator."""


class CorruptDatabase(DatabaseError):
    """The stored database cannot be read; the text names the file."""


class DatabaseInUse(DatabaseError):
    """Another process has the database file open."""


class UnsupportedSchema(DatabaseError):
    """The stored database was written by a newer version of this software."""
