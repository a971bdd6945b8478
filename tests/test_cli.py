"""The command line against a real server: what people see, what scripts get, exit codes."""

import json
import os
import pty
import signal
import subprocess
import time

import pytest
from support.clients import kcat_consume, kcat_produce
from support.server import Lines, clean_environment

DONE, FAILED, USAGE, NOT_FOUND, UNREACHABLE, DENIED, CONFLICT = range(7)
WAIT_SECONDS = 60


def done(server, *words, **more):
    ran = server.command_line(*words, **more)
    assert ran.returncode == DONE, f"{words}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def failed(server, code, *words, **more):
    ran = server.command_line(*words, **more)
    assert ran.returncode == code, f"{words} ended with {ran.returncode}\n{ran.stdout}{ran.stderr}"
    return ran.stderr


def alone(binary, *words, **environment):
    return subprocess.run([binary, *words], capture_output=True, text=True, env=clean_environment(**environment),
                          timeout=WAIT_SECONDS)


def test_topics_are_made_listed_shown_edited_trimmed_and_removed(server):
    done(server, "topic", "create", "orders", "--partitions", "2", "retention.ms=7d")
    kcat_produce(server, "orders", ["a", "b"], "-p", "1")
    lines = [line.split() for line in done(server, "topic", "ls").splitlines()]
    assert lines[0] == ["TOPIC", "PARTITIONS", "OFFSETS", "BYTES", "SETTINGS"]
    assert lines[1][:3] == ["orders", "2", "2"] and lines[1][-1] == "retention.ms=7d"
    assert done(server, "topic", "ls", "--names") == "orders\n"
    assert "topic:orders" in done(server, "topic", "show", "orders")
    assert "segment.bytes=1073741824" in done(server, "topic", "show", "orders", "--all")
    edited = json.loads(done(server, "topic", "edit", "orders", "retention.ms=", "flush.policy=os", "--json"))
    assert edited["settings"] == {"flush.policy": "os"}
    assert "1" in done(server, "topic", "trim", "orders", "--to", "offset:1", "--partition", "1")
    assert kcat_consume(server, "orders") == ["b"]
    done(server, "topic", "rm", "orders")
    assert json.loads(done(server, "topic", "ls", "--json")) == {"topics": []}


def test_lists_longer_than_a_page_are_whole(server):
    done(server, "topic", "create", "wide", "--partitions", "1500")
    shown = json.loads(done(server, "topic", "show", "wide", "--json"))
    assert [part["partition"] for part in shown["partition_list"]] == list(range(1500))


def test_groups_are_moved_listed_shown_and_removed(server):
    done(server, "produce", "orders", input="a\nb\nc\n")
    done(server, "group", "edit", "billing", "--topic", "orders", "--to", "offset:1")
    assert done(server, "consume", "orders", "--group", "billing") == "b\nc\n"
    assert done(server, "consume", "orders", "--group", "billing") == ""
    lines = [line.split() for line in done(server, "group", "ls").splitlines()]
    assert lines == [["GROUP", "STATE", "MEMBERS", "PARTITIONS", "LAG"], ["billing", "Empty", "0", "1", "0"]]
    done(server, "group", "edit", "billing", "--to", "-1h")
    assert json.loads(done(server, "group", "show", "billing", "--json"))["lag"] == 3
    assert "orders" in done(server, "group", "show", "billing")
    done(server, "group", "rm", "billing")
    assert "billing" in failed(server, NOT_FOUND, "group", "show", "billing")


def test_exit_codes_say_what_kind_of_failure_it_was(server):
    done(server, "topic", "create", "orders")
    assert "exists" in failed(server, CONFLICT, "topic", "create", "orders")
    assert "did you mean orders" in failed(server, NOT_FOUND, "topic", "show", "oders")
    assert "what is \"b\"" in failed(server, USAGE, "topic", "show", "a", "b")
    assert "NAME" in failed(server, USAGE, "topic", "show")
    assert "retention.ms" in failed(server, USAGE, "topic", "create", "x", "retentin.ms=1")
    assert "SETTING=VALUE" in failed(server, USAGE, "topic", "create", "x", "y")
    assert "earliest" in failed(server, USAGE, "topic", "trim", "orders", "--to", "soon")
    assert "--to" in failed(server, USAGE, "topic", "trim", "orders")
    assert "tidemark server" in failed(server, UNREACHABLE, "topic", "ls", "--http", "127.0.0.1:1")
    assert "tidemark server" in failed(server, UNREACHABLE, "consume", "orders", "--kafka", "127.0.0.1:1")
    environment = {**server.environment, "TIDEMARK_HTTP": server.http, "TIDEMARK_TOKEN": "0" * 64}
    ran = subprocess.run([server.binary, "topic", "rm", "orders"], env=environment, capture_output=True, text=True,
                         timeout=WAIT_SECONDS)
    assert ran.returncode == DENIED and "token" in ran.stderr
    assert "denied" in failed(server, DENIED, "topic", "rm", "__meta") or "internal" in failed(
        server, DENIED, "topic", "rm", "__meta")


@pytest.mark.parametrize("words, nearest", [
    (["topc"], "topic"), (["topic", "list"], "topic ls"), (["topic", "shwo", "x"], "topic show"),
    (["topic", "ls", "--jsn"], "--json"), (["consme", "x"], "consume"), (["consume", "x", "--format", "jsno"], "json"),
])
def test_a_word_that_does_not_exist_gets_the_nearest(binary, words, nearest):
    ran = alone(binary, *words)
    assert ran.returncode == USAGE
    assert nearest in ran.stderr


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["help", "topic"], ["topic", "--help"],
                                   ["topic", "create", "--help"], ["help", "topic", "create"], ["consume", "-h"],
                                   ["doctor", "--help"], ["config", "show", "--help"], ["bench", "--help"]])
def test_help_is_everywhere_and_succeeds(binary, words):
    ran = alone(binary, *words)
    assert ran.returncode == DONE and not ran.stderr
    assert "tidemark" in ran.stdout


def test_a_noun_without_a_verb_lists_its_verbs(binary):
    ran = alone(binary, "topic")
    assert ran.returncode == USAGE and "tidemark topic create" in ran.stderr


def test_produce_names_the_lines_that_failed_and_writes_the_others(server):
    ran = server.command_line("produce", "pairs", "--format", "key-value", "--separator", "=", input="a=1\nbad\nb=2\n")
    assert ran.returncode == FAILED
    assert "line 2: " in ran.stderr and "1 of 3" in ran.stderr
    assert done(server, "consume", "pairs", "--format", "key-value").splitlines() == ["a\t1", "b\t2"]


def test_produce_says_what_to_do_about_a_record_that_is_too_large(server):
    done(server, "topic", "create", "small", "max.message.bytes=1000")
    words = failed(server, FAILED, "produce", "small", input=os.urandom(2000).hex() + "\n")
    assert "line 1" in words and "max.message.bytes" in words


def test_what_consume_writes_as_json_produce_reads_back(server):
    lines = [{"key": "k", "value": "v", "headers": [{"name": "h", "value": "x"}, {"name": "h", "value": None}]},
             {"key": None, "value": None}, {"key": "", "value": ""}, {"key_hex": "ff00", "value": "\u00e9\n"}]
    done(server, "produce", "one", "--format", "json", input="".join(json.dumps(line) + "\n" for line in lines))
    first = done(server, "consume", "one", "--format", "json")
    done(server, "produce", "two", "--format", "json", input=first)
    second = done(server, "consume", "two", "--format", "json")

    def kept(text):
        return [{name: value for name, value in json.loads(line).items() if name not in ("ref", "topic")}
                for line in text.splitlines()]
    assert kept(first) == kept(second) and len(kept(first)) == 4
    assert kept(first)[0]["headers"] == lines[0]["headers"]


def test_consume_reads_between_points(server):
    done(server, "topic", "create", "orders")
    kcat_produce(server, "orders", [str(number) for number in range(10)])
    assert done(server, "consume", "orders", "--count", "2") == "0\n1\n"
    assert done(server, "consume", "orders", "--from", "offset:3", "--to", "offset:5") == "3\n4\n"
    assert done(server, "consume", "orders", "--from", "latest") == ""
    assert done(server, "consume", "orders", "--from", "-1h", "--to", "now", "--count", "1") == "0\n"
    assert "0 to 10" in failed(server, FAILED, "consume", "orders", "--from", "offset:11")
    assert "orders" in failed(server, NOT_FOUND, "consume", "orders", "--partition", "3")
    assert "topic create" in failed(server, NOT_FOUND, "consume", "nothing")


def start_consume(server, *words):
    environment = {**server.environment, "TIDEMARK_HTTP": server.http, "TIDEMARK_KAFKA": server.kafka}
    return subprocess.Popen([server.binary, "consume", *words], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_a_following_consumer_gets_what_comes_and_ends_well_on_sigint(server):
    done(server, "produce", "orders", input="a\n")
    process = start_consume(server, "orders", "--follow", "--group", "billing")
    output = Lines(process.stdout)
    assert output.wait_for("^a$", WAIT_SECONDS)
    done(server, "produce", "orders", input="b\n")
    assert output.wait_for("^b$", WAIT_SECONDS)
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_SECONDS) == DONE, process.stderr.read()
    assert json.loads(done(server, "group", "show", "billing", "--json"))["lag"] == 0


def test_a_consumer_whose_reader_is_gone_ends_well(server):
    done(server, "produce", "many", input="some words to fill a pipe with\n" * 20000)
    process = start_consume(server, "many")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(WAIT_SECONDS) == DONE, process.stderr.read()


def test_a_group_does_not_move_past_what_could_not_be_written(server):
    done(server, "topic", "create", "many")
    done(server, "produce", "many", input="some words to fill a pipe with\n" * 20000)
    process = start_consume(server, "many", "--group", "billing")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(WAIT_SECONDS) == DONE, process.stderr.read()
    group = json.loads(done(server, "group", "show", "billing", "--json"))
    assert group["offset_count"] == 0 or group["lag"] > 0


def on_terminal(server, words, answer):
    """Runs a command with a terminal for its input and errors; (exit code, what it showed)."""
    leader, follower = pty.openpty()
    environment = {**server.environment, "TIDEMARK_HTTP": server.http}
    process = subprocess.Popen([server.binary, *words], env=environment, stdin=follower, stdout=subprocess.PIPE,
                               stderr=follower)
    os.close(follower)
    shown, deadline = "", time.monotonic() + WAIT_SECONDS
    while "[y/N]" not in shown and time.monotonic() < deadline:
        shown += os.read(leader, 1000).decode()
    os.write(leader, answer.encode())
    code = process.wait(WAIT_SECONDS)
    os.close(leader)
    return code, shown


def test_rm_asks_first_on_a_terminal(server):
    done(server, "produce", "orders", input="a\n")
    code, shown = on_terminal(server, ["topic", "rm", "orders"], "n\n")
    assert code == FAILED and "1 offsets" in shown
    assert done(server, "topic", "ls", "--names") == "orders\n"
    code, shown = on_terminal(server, ["topic", "rm", "orders"], "y\n")
    assert code == DONE
    assert done(server, "topic", "ls", "--names") == ""


def test_config_check_names_the_mistake_and_its_place(binary, tmp_path):
    path = tmp_path / "server.yaml"
    path.write_text("kafka:\n  listn: 127.0.0.1:0\n")
    ran = alone(binary, "config", "check", str(path))
    assert ran.returncode == FAILED and "server.yaml:2:3" in ran.stderr and "listen" in ran.stderr
    path.write_text("kafka:\n  listen: 127.0.0.1:0\n")
    assert alone(binary, "config", "check", str(path)).stdout == "fine\n"


def test_config_show_is_a_config_file_again(binary, tmp_path):
    shown = alone(binary, "config", "show", "--num-partitions", "7").stdout
    assert "num.partitions: 7\n" in shown
    path = tmp_path / "server.yaml"
    path.write_text(shown)
    assert alone(binary, "config", "show", str(path)).stdout == shown
    assert json.loads(alone(binary, "config", "show", str(path), "--json").stdout)["num.partitions"] == "7"


def findings(binary, *words, **environment):
    ran = alone(binary, "doctor", "--json", *words, **environment)
    return ran.returncode, {check["check"]: check for check in json.loads(ran.stdout)["checks"]}


def test_the_doctor_finds_a_running_server_well(server):
    environment = {"TIDEMARK_KAFKA": server.kafka, "TIDEMARK_HTTP": server.http}
    code, found = findings(server.binary, "--data", server.data, **environment)
    assert code == DONE, found
    assert str(server.pid) in found["in use"]["message"]
    assert found["kafka"]["state"] == found["http"]["state"] == "fine"


def test_the_doctor_names_a_taken_port_and_a_file_in_the_way(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    before = sorted(os.listdir(tmp_path))
    code, found = findings(server.binary, "--data", str(tmp_path / "file"), "--kafka", server.kafka, "--http", "127.0.0.1:0")
    assert code == FAILED
    assert found["data folder"]["state"] == "wrong" and "--data" in found["data folder"]["fix"]
    assert found["kafka"]["state"] == "wrong" and server.kafka in found["kafka"]["message"]
    assert sorted(os.listdir(tmp_path)) == before # it changed nothing


def test_completion_offers_commands_options_and_names_and_expands_nothing(server, tmp_path):
    done(server, "topic", "create", "orders")
    done(server, "group", "edit", "$(touch pwned)", "--topic", "orders", "--to", "latest")
    (tmp_path / "tidemark").symlink_to(os.path.abspath(server.binary))
    script = tmp_path / "completion"
    script.write_text(done(server, "help", "--completion", "bash"))

    def offers(*words):
        asked = f"""source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _tidemark; printf '%s\\n' "${{COMPREPLY[@]}}" """
        environment = {**server.environment, "TIDEMARK_HTTP": server.http, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        ran = subprocess.run(["bash", "-c", asked, "bash", *words], env=environment, cwd=tmp_path, capture_output=True,
                             text=True, timeout=WAIT_SECONDS)
        assert ran.returncode == 0 and not ran.stderr, ran.stderr
        return ran.stdout.split("\n")[:-1]
    assert "topic" in offers("tidemark", "to")
    assert offers("tidemark", "topic", "s") == ["show"]
    assert offers("tidemark", "topic", "show", "o") == ["orders"]
    assert "--partitions" in offers("tidemark", "topic", "create", "--")
    assert "earliest" in offers("tidemark", "group", "edit", "x", "--to", "")
    assert len(offers("tidemark", "group", "show", "")) == 1
    assert not (tmp_path / "pwned").exists()


def test_version_is_one_line(binary):
    assert alone(binary, "version").stdout == alone(binary, "--version").stdout
    assert json.loads(alone(binary, "version", "--json").stdout)["version"]
