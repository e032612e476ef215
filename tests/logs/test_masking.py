"""What is variable in a message is masked by what it looks like; what a programmer wrote stays."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.logs.masking import LONGEST, MOST_WORDS, collapsed, masked, shown


def template(message: str) -> str:
    return shown(masked(collapsed(message)))


MASKED = (
    # numbers, and what hangs on them
    ("took 15 ms", "took <*>"),
    ("took 1.5s", "took <*>"),
    ("took 2m3s", "took <*>"),
    ("waited <1 sec", "waited <*>"),
    ("freed 12 KB, kept 3.5 MiB.", "freed <*>, kept <*>."),
    ("sent 5 bytes (5.25 KB)", "sent <*>"),
    ("at -12 of +3", "at <*> of <*>"),
    ("usage is 93.5%", "usage is <*>%"),
    ("attempt 3/10", "attempt <*>"),
    ("child 6725 in slot 10", "child <*> in slot <*>"),
    ("worker-7 of pool_3 on eth0", "worker-<*> of pool_<*> on eth<*>"),
    ("block blk_-1608999687919862906 and blk_38865049064139660", "block blk_<*> and blk_<*>"),
    ("task_200811101024_0001_m_000121_0 is done", "task_<*> is done"),
    ("version 1.2.3-rc4", "version <*>"),
    ("no numbers here at all", "no numbers here at all"),
    # addresses and names of hosts
    ("from 10.251.73.220:50010 to /10.0.0.1", "from <*> to <*>"),
    ("from 2001:db8::ff00:42:8329 to ::1", "from <*> to <*>"),
    ("mac 00:1a:2b:3c:4d:5e seen", "mac <*> seen"),
    ("checking ns.example.com [173.234.31.186] failed", "checking <*> failed"),
    ("host mail.example.co.uk is up", "host <*> is up"),
    ("mail to ada@example.org bounced", "mail to <*> bounced"),
    ("get https://api.example.com:8443/v1/x?a=b&c=d failed", "get <*> failed"),
    # ids
    ("request 550e8400-e29b-41d4-a716-446655440000 done", "request <*> done"),
    ("request a50e8400-e29b-41d4-a716-44665544000b done", "request <*> done"),
    ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit <*>"),
    ("at 0x7ffee4c3 in deadbeefcafe", "at <*> in <*>"),
    # paths
    ("reading /etc/httpd/conf/workers2.properties now", "reading <*> now"),
    ("reading ~/x and src/app/main.py", "reading <*> and <*>"),
    (r"loaded C:\Windows\winsxs\x.dll", "loaded <*>"),
    ("read/write and n/a stay", "read/write and n/a stay"),
    # times
    ("until 2026-11-20T12:00:00Z", "until <*>"),
    ("at Fri Jul 15 04:31:02 2005", "at <*>"),
    ("[Mon Jan 21 05:18:03 2005] x", "[<*>] x"),
    ("on 20/Nov/2026:13:00:00 +0100", "on <*>"),
    # quoted words, values, truth
    ('user "ada lovelace" is in', "user <*> is in"),
    ("rule 'allow all' and `x y`", "rule <*> and <*>"),
    ("it can't and it won't", "it can't and it won't"),
    ('"GET /a/b HTTP/1.1" 200', "GET <*>"),
    ('{"order": 7, "paid": true}', "{order: <*>, paid: <*>}"),
    ("uid=0 euid= tty=ssh user=root", "uid=<*> euid=<*> tty=<*> user=<*>"),
    ("a == b and x => y", "a == b and x => y"),
    ("force:false, visible:true", "force:<*>, visible:<*>"),
    # lists
    ("pods [1, 2, 3] wait", "pods [<*>] wait"),
    ("pods [1] wait", "pods [<*>] wait"),
    ("delete blk_1 blk_2 blk_3", "delete blk_<*>"),
    ("steps 5##6##7", "steps <*>"),
    # class names and the like stay
    ("java.io.IOException: ZooKeeperServer not running", "java.io.IOException: ZooKeeperServer not running"),
    ("at org.apache.zookeeper.server.quorum.QuorumPeer", "at org.apache.zookeeper.server.quorum.QuorumPeer"),
    ("run main.py in node.js", "run main.py in node.js"),
    ("", ""),
)


@pytest.mark.parametrize(("message", "said"), MASKED)
def test_a_message_becomes_its_template(message: str, said: str) -> None:
    assert template(message) == said


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_no_digit_is_left(message: str) -> None:
    assert not any(character in "0123456789" for character in template(message))


@given(st.lists(st.sampled_from(["user", "failed", "for", "from", "retry"]), min_size=1), st.integers(0), st.integers(0))
def test_messages_that_differ_in_a_number_are_one(words: list[str], one: int, two: int) -> None:
    said = " ".join(words)
    assert template(f"{said} {one} {said}") == template(f"{said} {two} {said}")


def test_of_a_very_long_message_the_first_words_count() -> None:
    assert template("word " * 100) == "word " * MOST_WORDS + "<*>"
    assert template("word " * MOST_WORDS) == ("word " * MOST_WORDS).strip()


HOSTILE = (
    *("0", "a", "'", '"', "`", "/", ".", ":", "=", "@", "\\", "\0", "-", "_", "a.", "a/", "0:", "0_", "a=", "ab:", "a@", "://"),
    *(
        '" ',
        "' 'a",
        "[0",
        "(0) ",
        "0 ",
        "0, ",
        "Jan ",
        "Jan 0 ",
        "a0b1 ",
        'a"b',
        "0.a-",
        "C:\\",
        "\\\\a",
        "true",
        "=true",
        "0 KB ",
        "~/",
    ),
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_line_takes_long(piece: str) -> None:
    line = piece * (2_000_000 // len(piece))
    began = time.process_time()
    words = masked(collapsed(line))
    assert time.process_time() - began < 0.25
    assert len(words) <= MOST_WORDS + 1
    assert sum(map(len, words)) <= LONGEST
