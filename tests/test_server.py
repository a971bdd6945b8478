"""Starting, stopping and refusing to start: what `tidemark server` promises before any client speaks."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest
from support.clients import kcat_consume, kcat_produce
from support.server import clean_environment

HOST_AND_FREE_PORT = r"127\.0\.0\.1:[1-9]\d*"
SIGTERM_SECONDS = 15


def config_file(folder, text):
    path = folder / "server.yaml"
    path.write_text(text)
    return path


def test_start_lines_name_addresses_folder_version_and_time(server):
    words = [line.split()[0] for line in server.output.lines if line.strip()]
    assert words[:5] == ["kafka", "http", "data", "version", "ready"]
    assert re.fullmatch(HOST_AND_FREE_PORT, server.start_value("kafka"))
    assert re.fullmatch(HOST_AND_FREE_PORT, server.start_value("http"))
    assert os.path.samefile(server.start_value("data"), server.data)
    with open(os.path.join(os.path.dirname(__file__), "../VERSION"), encoding="ascii") as file:
        assert server.start_value("version") == file.read().strip()
    assert re.fullmatch(r"in \d+ ms", server.start_value("ready"))


def test_both_doors_answer_once_ready_is_said(server):
    for address in (server.kafka, server.http):
        host, port = address.split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    assert server.get("/healthz").status == 200
    assert server.get("/readyz").status == 200
    assert "# TYPE" in server.get("/metrics").body.decode()


def test_sigterm_ends_it_in_time_and_with_status_0(server):
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait(SIGTERM_SECONDS) == 0
    assert time.monotonic() - started < SIGTERM_SECONDS


def test_sigterm_is_not_held_up_by_an_idle_client(server):
    host, port = server.kafka.split(":")
    with socket.create_connection((host, int(port))) as idle:
        idle.send(b"\0\0")  # and a request that never comes to its end
        server.signal(signal.SIGTERM)
        assert server.wait(SIGTERM_SECONDS) == 0


def test_a_second_server_on_the_same_folder_is_refused(servers, server):
    words = servers(data=server.data).refused()
    assert server.data in words
    assert re.search(r"lock|in use|another|already", words), words
    assert server.get("/healthz").status == 200  # and the first is none the worse


def test_a_killed_server_leaves_no_lock_behind(servers):
    server = servers().start()
    server.kill9()
    server.start()
    assert server.get("/readyz").status == 200


def test_records_acknowledged_before_kill_9_are_there_after_it(server):
    lines = [f"line {number}" for number in range(2000)]
    kcat_produce(server, "kept", lines)
    server.kill9()
    server.start()
    assert sorted(kcat_consume(server, "kept")) == sorted(lines)


def test_a_port_in_use_is_named(servers, server):
    words = servers(kafka=server.kafka).refused()
    assert server.kafka in words, words


@pytest.mark.parametrize("option", ["kafka", "http"])
def test_an_address_beyond_loopback_is_refused_with_the_way_out(servers, option):
    words = servers(**{option: "0.0.0.0:0"}).refused()
    assert "0.0.0.0" in words
    assert "--insecure-listen" in words


def test_insecure_listen_lets_an_address_beyond_loopback_pass(servers):
    server = servers("--insecure-listen", kafka="0.0.0.0:0").start()
    assert re.fullmatch(r"0\.0\.0\.0:[1-9]\d*", server.kafka)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:", "127.0.0.1:port", ":::"])
def test_an_address_that_is_none_is_refused(servers, address):
    assert address in servers(kafka=address).refused()


def test_a_config_file_is_taken(servers, tmp_path):
    path = config_file(tmp_path, "kafka:\n  listen: 127.0.0.1:0\n")
    assert servers("--config", str(path)).start().get("/readyz").status == 200


@pytest.mark.parametrize("text, place, nearest", [
    ("kafka:\n  listn: 127.0.0.1:0\n", "server.yaml:2:3", "listen"),
    ("kafak:\n  listen: 127.0.0.1:0\n", "server.yaml:", "kafka"),
])
def test_a_misspelt_setting_is_named_with_its_place_and_the_nearest_name(servers, tmp_path, text, place, nearest):
    words = servers("--config", str(config_file(tmp_path, text))).refused()
    assert place in words, words
    assert nearest in words, words


@pytest.mark.parametrize("text, place", [
    ("kafka:\n  listen: [1, 2\n", "server.yaml:"),
    ("kafka: &a {listen: *a}\n", "server.yaml:1:"),
    ("kafka:\n  listen: 127.0.0.1:0\n  listen: 127.0.0.1:0\n", "server.yaml:3:3"),
    ("\t- x\n", "server.yaml:1:"),
])
def test_a_config_file_that_makes_no_sense_is_refused_with_the_place(servers, tmp_path, text, place):
    words = servers("--config", str(config_file(tmp_path, text))).refused()
    assert place in words, words


def test_a_config_file_that_is_not_there_is_named(servers, tmp_path):
    path = str(tmp_path / "nowhere.yaml")
    assert path in servers("--config", path).refused()


def test_a_misspelt_flag_gets_the_nearest_name(servers):
    words = servers("--kafak", "127.0.0.1:0").refused()
    assert "--kafak" in words
    assert "kafka" in words.replace("kafak", "")


def test_a_misspelt_variable_gets_the_nearest_name(servers):
    words = servers(environment={"TIDEMARK_KAFKA_LISTN": "127.0.0.1:0"}).refused()
    assert "TIDEMARK_KAFKA_LISTN" in words
    assert "TIDEMARK_KAFKA_LISTEN" in words or "kafka.listen" in words, words


def test_settings_come_from_the_environment_too(binary, tmp_path, servers):
    server = servers(data=tmp_path / "by-variable", environment={"TIDEMARK_DATA": str(tmp_path / "by-variable")})
    server.command = lambda: [binary, "server", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    server.start()
    assert os.path.isdir(tmp_path / "by-variable")


def test_a_data_folder_that_cannot_be_made_is_named(servers, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in servers(data=tmp_path / "file" / "data").refused()


@pytest.mark.parametrize("words", [["--help"], ["server", "--help"], ["--version"]])
def test_help_and_version_are_printed_and_succeed(binary, words):
    ran = subprocess.run([binary, *words], capture_output=True, text=True, env=clean_environment(), timeout=20)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def test_a_noun_that_does_not_exist_gets_the_nearest(binary):
    ran = subprocess.run([binary, "sevrer"], capture_output=True, text=True, env=clean_environment(), timeout=20)
    assert ran.returncode > 0
    assert "server" in ran.stderr
