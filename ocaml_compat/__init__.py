"""Pure codecs of the wire and file formats that the OCaml toolstack fixed."""

__all__: list[str] = []
