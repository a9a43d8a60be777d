"""Paths."""

DOM0_ONLY = ("n0",)


def home(domid: int) -> str:
    return f"/local/domain/{domid}"


def frontend(domid: int, kind: str, devid: int) -> str:
    return f"/local/domain/{domid}/device/{kind}/{devid}"


def backend_path(backend_domid: int, kind: str, domid: int, devid: int) -> str:
    return f"/local/domain/{backend_domid}/backend/{kind}/{domid}/{devid}"


def mirror(domid: int) -> str:
    return f"/xenops/domain/{domid}"


def private(uuid: str) -> str:
    return f"/xapi/{uuid}"
