from pathlib import Path

from xcp_networkd.linux import name_servers


def test_written_file_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    name_servers.write(file, name_servers.text("xenbr0", ("192.0.2.2", "::1"), ("a.b", "c.d")))
    assert name_servers.read(file) == ("xenbr0", ("192.0.2.2", "::1"), ("a.b", "c.d"))
    assert [path.name for path in tmp_path.iterdir()] == ["resolv.conf"]


def test_file_of_someone_else_has_no_owner(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# by hand\nnameserver 192.0.2.9\noptions rotate\n")
    assert name_servers.read(file) == ("", ("192.0.2.9",), ())
    assert name_servers.read(tmp_path / "none") == ("", (), ())
