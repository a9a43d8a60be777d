"""Tasks: what happens to those that go while something runs under them."""

from twisted.internet.task import Clock

from xapi_py.base.names import Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.task.tasks import Tasks


def test_work_under_a_destroyed_task_goes_on() -> None:
    clock = Clock()
    tasks = Tasks(Database(load_model("all"), MemoryEngine(), clock), clock, lambda: Ref("h"))
    task = tasks.create("VM.clone")
    tasks.destroy(task)
    tasks.cancellable(task, lambda: None)
    tasks.progress(task, 0.5)
    tasks.succeed(task, "")
