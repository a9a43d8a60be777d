"""What the parts of this server say about themselves to clients."""

import json

from xapi_py.api.toolstack import Toolstack
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import Request, Response
from xapi_py.session.sessions import Session

STORAGE = {
    "driver": "mux",
    "name": "storage",
    "description": "Hands storage calls on to the drivers of the repositories",
    "vendor": "xapi-py",
    "copyright": "",
    "version": "2.0",
    "required_api_version": "2.0",
    "smapi_version": "SMAPIv2",
    "features": ["/services/SM"],
    "configuration": {},
    "required_cluster_stack": [],
    "supported_image_formats": [],
}


@entry_point("get_services")
def get_services(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Describe the storage service; below its path there is nothing else."""
    if request.path.rstrip("/") != "/services":
        return Response(404, close=True)
    return Response(200, (json.dumps(STORAGE).encode(),), (("Content-Type", "application/json"),))
