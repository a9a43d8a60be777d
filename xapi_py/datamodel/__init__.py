"""The XenAPI data model: classes, messages, enums, errors, roles, templates."""

__all__: list[str] = []
