"""Sessions, logins and role-based access control."""

__all__: list[str] = []
